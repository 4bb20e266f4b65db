"""CUDA behind one interface: through pycuda where it loads, else through ctypes."""
