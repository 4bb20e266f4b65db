"""CUDA behind one interface: through ctypes, or through pycuda, which has no graphs."""
