"""The shelf: trained models as NAME.safetensors, and index.json, which describes them; see `fastnas.shelf`."""
