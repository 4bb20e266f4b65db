"""Kernels of pre- and post-processing: their text, and compiling it on the machine that runs it."""
