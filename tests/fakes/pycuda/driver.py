"""A stand-in for pycuda's driver: device memory is NumPy arrays by address, calls are counted, contexts are per thread.

FAKE_COMPUTE is the compute capability, such as `6.2`; FAKE_NO_DRIVER makes `init` fail.
"""

import os
import threading
import time

import numpy as np

calls = []
_memory = {}
_current = threading.local()


class Error(Exception):
    pass


def init():
    if os.environ.get("FAKE_NO_DRIVER"):
        raise Error("cuInit failed: no CUDA-capable device is detected")


def _need_context():
    if not getattr(_current, "depth", 0):
        raise Error("invalid device context: no currently active context?")


class Device:
    def __init__(self, number):
        self.number = number

    def name(self):
        return "Fake GPU"

    def compute_capability(self):
        major, minor = os.environ.get("FAKE_COMPUTE", "8.7").split(".")
        return int(major), int(minor)

    def retain_primary_context(self):
        return Context()


class Context:
    def push(self):
        _current.depth = getattr(_current, "depth", 0) + 1

    def pop(self):
        _current.depth -= 1


class DeviceAllocation:
    def __init__(self, size):
        self._address = (max(_memory) if _memory else 4096) + (1 << 24)
        _memory[self._address] = np.zeros(size, np.uint8)

    def __int__(self):
        return self._address


class Stream:
    handle = 7


class Event:
    def record(self, stream):
        _need_context()
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def time_till(self, other):
        return (other.at - self.at) * 1000


def mem_alloc(size):
    _need_context()
    calls.append("mem_alloc")
    return DeviceAllocation(size)


def pagelocked_empty(shape, dtype):
    _need_context()
    calls.append("pagelocked_empty")
    return np.empty(shape, dtype)


def memcpy_htod_async(dest, src, stream):
    _need_context()
    calls.append("htod")
    _memory[int(dest)][: src.nbytes] = src.reshape(-1).view(np.uint8)


def memcpy_dtoh_async(dest, src, stream):
    _need_context()
    calls.append("dtoh")
    dest[...] = device_array(int(src), dest.shape, dest.dtype)


def device_array(address, shape, dtype):
    """The device memory at an address as an array (for the fake TensorRT)."""
    return _memory[address].view(dtype)[: int(np.prod(shape))].reshape(shape)
