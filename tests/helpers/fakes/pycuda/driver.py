"""A stand-in for pycuda's driver: device memory is the host's, work is done at once, contexts are per thread.

FAKE_COMPUTE is the compute capability, such as `6.2`; FAKE_MULTIPROCESSORS their number; FAKE_INTEGRATED is 1 on a
board; FAKE_NO_DRIVER lets `init` fail; FAKE_OLD_PYCUDA has no primary context, as before 2020.1; FAKE_BROKEN_PYCUDA
does not load, `numpy` as where it was compiled with a newer NumPy. FAKE_CUDA_FAULT makes a call fail: `context`,
`pinned`, `device` (the second; `device5` is the fifth), `copy`, `launch` or `module`. FAKE_KERNELS is a library of
`host_kernels`, which runs our kernels; a launch of them is noted with blocks and threads.

Whatever is allocated, called and freed is noted in `cuda_record`.
"""

import ctypes
import enum
import functools
import os
import threading
import time

import cuda_record
import numpy as np

if os.environ.get("FAKE_BROKEN_PYCUDA") == "numpy":
    raise SystemError("initialization of _driver raised unreported exception")
if os.environ.get("FAKE_BROKEN_PYCUDA"):
    raise ImportError("libcurand.so.10: cannot open shared object file: No such file or directory")

_current = threading.local()


class Error(Exception):
    pass


class MemoryError(Error):
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class device_attribute(enum.Enum):  # noqa: N801 - pycuda's name
    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18


class host_alloc_flags(enum.IntEnum):  # noqa: N801
    DEVICEMAP = 2


class mem_attach_flags(enum.IntEnum):  # noqa: N801
    GLOBAL = 1


def _fault(name):
    return os.environ.get("FAKE_CUDA_FAULT") == name


def init():
    if os.environ.get("FAKE_NO_DRIVER"):
        raise Error("cuInit failed: no CUDA-capable device is detected")


def get_version():
    return (10, 2, 0)


def _has_context():
    return bool(getattr(_current, "depth", 0))


def _need_context():
    if not _has_context():
        raise LogicError("explicit_context_dependent failed: invalid device context - no currently active context?")


class _Counted:
    """An object whose allocation and end are noted, as `what`."""

    what = ""

    def __init__(self):
        _need_context()
        cuda_record.note("+" + self.what)
        self._noted = True

    def __del__(self):
        if hasattr(self, "_noted"):
            cuda_record.note("-" + self.what, _has_context())


class Device:
    def __init__(self, number):
        self.number = number

    def name(self):
        return "Fake GPU"

    def compute_capability(self):
        major, minor = os.environ.get("FAKE_COMPUTE", "8.7").split(".")
        return int(major), int(minor)

    def get_attribute(self, attribute):
        if attribute is device_attribute.INTEGRATED:
            return int("FAKE_INTEGRATED" in os.environ)
        assert attribute is device_attribute.MULTIPROCESSOR_COUNT
        return int(os.environ.get("FAKE_MULTIPROCESSORS", "8"))

    def make_context(self):
        context = Context()
        context.push()
        return context

    if not os.environ.get("FAKE_OLD_PYCUDA"):

        def retain_primary_context(self):
            return Context()


class Context:
    def push(self):
        if _fault("context"):
            raise MemoryError("cuCtxCreate failed: out of memory")
        _current.depth = getattr(_current, "depth", 0) + 1
        cuda_record.note("+context")

    def pop(self):
        _current.depth -= 1
        cuda_record.note("-context")


class DeviceAllocation(_Counted):
    what = "device"

    def __init__(self, size):
        super().__init__()
        self._block = np.zeros(size, np.uint8)

    def __int__(self):
        return self._block.ctypes.data


class Stream(_Counted):
    what = "stream"
    handle = 7

    def synchronize(self):
        pass


class Event(_Counted):
    what = "event"

    def record(self, stream):
        _need_context()
        self.at = time.perf_counter()

    def synchronize(self):
        if _fault("launch"):
            del self  # a compiled function leaves no frame that would hold it
            raise LaunchError("cuEventSynchronize failed: unspecified launch failure")

    def time_till(self, other):
        return (other.at - self.at) * 1000


def mem_alloc(size):
    _need_context()
    count = 1 + cuda_record.lines().count("+device")
    if _fault("device{}".format(count)) or (count == 2 and _fault("device")):
        raise MemoryError("cuMemAlloc failed: out of memory")
    return DeviceAllocation(size)


class _HostAllocation(_Counted):
    """What a host array stands on: freed with the last array."""

    def __init__(self, shape, dtype, what):
        self.what = what
        super().__init__()
        self._array = np.empty(shape, dtype)
        self.__array_interface__ = self._array.__array_interface__

    def get_device_pointer(self):
        return self._array.ctypes.data


def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
    _need_context()
    if _fault("pinned"):
        raise MemoryError("cuMemHostAlloc failed: out of memory")
    return np.asarray(_HostAllocation(shape, dtype, "mapped" if mem_flags == host_alloc_flags.DEVICEMAP else "pinned"))


def managed_empty(shape, dtype, order="C", mem_flags=0):
    assert mem_flags == mem_attach_flags.GLOBAL
    return np.asarray(_HostAllocation(shape, dtype, "managed"))


def memcpy_htod_async(dest, src, stream):
    _need_context()
    cuda_record.note("=htod")
    if _fault("copy"):
        del dest, src, stream  # a compiled function leaves no frame that would hold them
        raise LogicError("cuMemcpyHtoDAsync failed: invalid device context")
    ctypes.memmove(int(dest), src.ctypes.data, src.nbytes)


def memcpy_dtoh_async(dest, src, stream):
    _need_context()
    cuda_record.note("=dtoh")
    ctypes.memmove(dest.ctypes.data, int(src), dest.nbytes)


class _Module(_Counted):
    what = "module"

    def get_function(self, name):
        if "FAKE_KERNELS" in os.environ:
            return functools.partial(_launch, name)
        if name != "add_one":
            raise LogicError("cuModuleGetFunction failed: named symbol not found")
        return _add_one


def module_from_buffer(image):
    _need_context()
    if _fault("module"):
        raise MemoryError("cuModuleLoadDataEx failed: out of memory")
    if (b".entry peaks" if "FAKE_KERNELS" in os.environ else b".entry add_one") not in image or not image.endswith(
        b"\0"
    ):
        raise LogicError("cuModuleLoadDataEx failed: device kernel image is invalid")
    return _Module()


def _launch(name, *arguments, grid, block, stream):
    _need_context()
    cuda_record.note("={} {},{} {},{}".format(name, *grid[:2] + block[:2]))
    values = [np.array(argument) for argument in arguments]
    pointers = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
    sizes = [(ctypes.c_uint * 3)(*each) for each in (grid, block)]
    assert ctypes.CDLL(os.environ["FAKE_KERNELS"]).launch(name.encode(), *sizes, pointers) == 0


def _add_one(address, count, grid, block, stream):
    _need_context()
    cuda_record.note("=kernel")
    count = min(int(count), int(np.prod(grid)) * int(np.prod(block)))
    np.ctypeslib.as_array((ctypes.c_float * count).from_address(int(address)))[...] += 1
