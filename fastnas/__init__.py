"""fastnas: compact networks for dense prediction, found by search and measured on NVIDIA Jetson boards."""

__version__ = "0.1.0"
