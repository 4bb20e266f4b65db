"""A stand-in for pycuda's driver: device memory is NumPy arrays by address, calls are counted, contexts are per thread.

FAKE_COMPUTE is the compute capability, such as `6.2`; FAKE_NO_DRIVER makes `init` fail; FAKE_OLD_PYCUDA has no primary
context, as before 2020.1; FAKE_BROKEN_PYCUDA does not load. FAKE_CUDA_FAULT makes a call fail: `context`, `pinned`,
`device`, `copy` or `launch`.

Whatever is freed is noted in `freed`, in order: freed outside a context it is `leaked ...`. `live` counts the rest.
"""

import os
import threading
import time
from collections import Counter

import numpy as np

if os.environ.get("FAKE_BROKEN_PYCUDA"):
    raise ImportError("libcurand.so.10: cannot open shared object file: No such file or directory")

calls = []
freed = []
_allocated = []
_memory = {}
_current = threading.local()
_FAULT = os.environ.get("FAKE_CUDA_FAULT", "")


class Error(Exception):
    pass


class MemoryError(Error):
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


def init():
    if os.environ.get("FAKE_NO_DRIVER"):
        raise Error("cuInit failed: no CUDA-capable device is detected")


def get_version():
    return (10, 2, 0)


def _need_context():
    if not getattr(_current, "depth", 0):
        raise LogicError("explicit_context_dependent failed: invalid device context - no currently active context?")


def note_allocated(what):
    """Note that something was allocated (the fake TensorRT's objects too)."""
    _allocated.append(what)


def note_freed(what):
    """Note that something was freed."""
    freed.append(what if getattr(_current, "depth", 0) else "leaked " + what)


def live():
    """How many of each kind were allocated and are not freed."""
    counts = Counter(_allocated)
    counts.subtract(freed)
    return {what: count for what, count in counts.items() if count}


class Device:
    def __init__(self, number):
        self.number = number

    def name(self):
        return "Fake GPU"

    def compute_capability(self):
        major, minor = os.environ.get("FAKE_COMPUTE", "8.7").split(".")
        return int(major), int(minor)

    def make_context(self):
        context = Context()
        context.push()
        return context

    if not os.environ.get("FAKE_OLD_PYCUDA"):

        def retain_primary_context(self):
            return Context()


class Context:
    def push(self):
        if _FAULT == "context":
            raise MemoryError("cuCtxCreate failed: out of memory")
        _current.depth = getattr(_current, "depth", 0) + 1
        note_allocated("context")

    def pop(self):
        _current.depth -= 1
        freed.append("context")


class DeviceAllocation:
    def __init__(self, size):
        self._address = (max(_memory) if _memory else 4096) + (1 << 24)
        _memory[self._address] = np.zeros(size, np.uint8)
        note_allocated("device")

    def __int__(self):
        return self._address

    def __del__(self):
        note_freed("device")


class Stream:
    handle = 7

    def __init__(self):
        note_allocated("stream")

    def __del__(self):
        note_freed("stream")


class Event:
    def __init__(self):
        note_allocated("event")

    def __del__(self):
        note_freed("event")

    def record(self, stream):
        _need_context()
        self.at = time.perf_counter()

    def synchronize(self):
        if _FAULT == "launch":
            del self  # a compiled function leaves no frame that would hold it
            raise LaunchError("cuEventSynchronize failed: unspecified launch failure")

    def time_till(self, other):
        return (other.at - self.at) * 1000


def mem_alloc(size):
    _need_context()
    calls.append("mem_alloc")
    if _FAULT == "device" and calls.count("mem_alloc") == 2:
        raise MemoryError("cuMemAlloc failed: out of memory")
    return DeviceAllocation(size)


class _PageLocked:
    """What a page-locked array stands on: freed with the last array."""

    def __init__(self, shape, dtype):
        self._array = np.empty(shape, dtype)
        self.__array_interface__ = self._array.__array_interface__
        note_allocated("pinned")

    def __del__(self):
        note_freed("pinned")


def pagelocked_empty(shape, dtype):
    _need_context()
    calls.append("pagelocked_empty")
    if _FAULT == "pinned":
        raise MemoryError("cuMemHostAlloc failed: out of memory")
    return np.asarray(_PageLocked(shape, dtype))


def memcpy_htod_async(dest, src, stream):
    _need_context()
    calls.append("htod")
    if _FAULT == "copy":
        del dest, src, stream  # a compiled function leaves no frame that would hold them
        raise LogicError("cuMemcpyHtoDAsync failed: invalid device context")
    _memory[int(dest)][: src.nbytes] = src.reshape(-1).view(np.uint8)


def memcpy_dtoh_async(dest, src, stream):
    _need_context()
    calls.append("dtoh")
    dest[...] = device_array(int(src), dest.shape, dest.dtype)


def device_array(address, shape, dtype):
    """The device memory at an address as an array (for the fake TensorRT)."""
    return _memory[address].view(dtype)[: int(np.prod(shape))].reshape(shape)
