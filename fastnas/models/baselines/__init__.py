"""Baselines: decoders of other authors on the same encoders, which every command takes by name."""
