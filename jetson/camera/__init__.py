"""The live camera: sources, pipeline, overlay, recordings and the page."""
