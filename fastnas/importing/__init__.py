"""Weights that other code has trained, as model files."""
