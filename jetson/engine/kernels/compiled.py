"""The kernels as PTX, compiled once for each text, architecture and NVRTC, and kept in the cache folder."""

import os

TEXT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "processing.cu")
"""Path of the kernels' text."""
