"""CUDA through ctypes, for Python 3.6 and later and CUDA 10.2 to 13: no compiler is needed to install it.

Memory, streams, events and graphs are libcudart's, the context and kernels libcuda's. The context is the GPU's primary
one, which TensorRT, ONNX Runtime and PyTorch share.
"""

import ctypes
from contextlib import contextmanager
from ctypes import byref, c_float, c_int, c_void_p
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.engine.cuda.functions import Functions, driver_functions, runtime_functions
from fastnas.jetson.engine.cuda.interface import Cuda, CudaError, Device, Event, Graph, HostMemory, Memory, Module
from fastnas.jetson.engine.cuda.interface import Stream as StreamInterface
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.libraries import load_library, runtime_paths, spell_version

# cudaDeviceAttr
MULTIPROCESSORS, INTEGRATED, MAJOR, MINOR = 16, 18, 75, 76
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2  # cudaMemcpyKind
MAPPED = 2  # cudaHostAllocMapped
ATTACH_GLOBAL = 1  # cudaMemAttachGlobal
NON_BLOCKING = 1  # cudaStreamNonBlocking: it does not wait for the default stream
THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: other threads may allocate meanwhile


class CtypesCuda(Cuda):
    """See `Cuda`."""

    has_graphs = True

    def __init__(self, runtime: Functions, driver: Functions) -> None:
        self._runtime, self._driver = runtime, driver
        self._context: Optional[_Context] = None
        try:
            driver.cuInit(0)
            number, version, name = c_int(), c_int(), ctypes.create_string_buffer(256)
            runtime.cudaRuntimeGetVersion(byref(version))
            driver.cuDeviceGet(byref(number), 0)
            driver.cuDeviceGetName(name, len(name), number)
            major, minor, integrated, multiprocessors = (
                self._attribute(which) for which in (MAJOR, MINOR, INTEGRATED, MULTIPROCESSORS)
            )
        except CudaError as error:
            raise JetsonError("there is no usable NVIDIA driver here ({})".format(error)) from error
        self._number = number.value
        self.about = "CUDA {} through ctypes".format(spell_version(version.value))
        self.device = Device(name.value.decode("utf-8", "replace"), (major, minor), bool(integrated), multiprocessors)

    def _attribute(self, which: int) -> int:
        value = c_int()
        self._runtime.cudaDeviceGetAttribute(byref(value), which, 0)
        return value.value

    def enter(self) -> Callable[[], None]:
        """See `Cuda.enter`."""
        # The runtime makes the primary context so that host memory can be mapped; before CUDA 11 the driver does not.
        self._runtime.cudaFree(None)
        context = _Context(self._driver, self._number)
        context.push()
        self._context = context

        def leave() -> None:
            self._context = None
            context.pop()

        return leave

    def allocate(self, size: int) -> Memory:
        """See `Cuda.allocate`."""
        return _DeviceMemory(self._make("cudaMalloc", "cudaFree", size))

    def host_memory(self, kind: str, shape: Tuple[int, ...], dtype: Any) -> HostMemory:
        """See `Cuda.host_memory`."""
        size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        if kind == "managed":
            handle = self._make("cudaMallocManaged", "cudaFree", size, ATTACH_GLOBAL)
            address: Optional[int] = handle.value
        else:
            handle = self._make("cudaHostAlloc", "cudaFreeHost", size, MAPPED if kind == "mapped" else 0)
            address = None
        if kind == "mapped":
            pointer = c_void_p()
            self._runtime.cudaHostGetDevicePointer(byref(pointer), handle.value, 0)
            address = pointer.value
        return HostMemory(np.asarray(_ArraySource(handle, shape, np.dtype(dtype))), address)

    def copy_in(self, target: Memory, source: np.ndarray, stream: Any) -> None:
        """See `Cuda.copy_in`."""
        self._runtime.cudaMemcpyAsync(target.address, source.ctypes.data, source.nbytes, HOST_TO_DEVICE, stream.handle)

    def copy_out(self, target: np.ndarray, source: Memory, stream: Any) -> None:
        """See `Cuda.copy_out`."""
        self._runtime.cudaMemcpyAsync(target.ctypes.data, source.address, target.nbytes, DEVICE_TO_HOST, stream.handle)

    def stream(self) -> StreamInterface:
        """See `Cuda.stream`."""
        return _Stream(self._make("cudaStreamCreateWithFlags", "cudaStreamDestroy", NON_BLOCKING), self._runtime)

    def event(self) -> Event:
        """See `Cuda.event`."""
        return _Event(self._make("cudaEventCreateWithFlags", "cudaEventDestroy", 0), self._runtime)

    def module(self, image: bytes) -> Module:
        """See `Cuda.module`."""
        text = ctypes.create_string_buffer(image)  # ends with the zero byte that PTX needs
        handle = self._make("cuModuleLoadData", "cuModuleUnload", ctypes.addressof(text))
        return _Module(handle, self._driver)

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> Graph:
        """See `Cuda.capture`."""
        try:
            return self._captured(stream, enqueue)
        except BaseException:
            with _forgiven():  # TensorRT would find the error after its next launch, and blame that
                self._runtime.cudaGetLastError()
            raise

    def _captured(self, stream: Any, enqueue: Callable[[], None]) -> Graph:
        runtime, graph = self._runtime, c_void_p()
        runtime.cudaStreamBeginCapture(stream.handle, THREAD_LOCAL)
        try:
            enqueue()
        except BaseException:
            with _forgiven():  # the stream must leave the capture, whatever it recorded
                runtime.cudaStreamEndCapture(stream.handle, byref(graph))
            with _forgiven():
                if graph:
                    runtime.cudaGraphDestroy(graph)
            raise
        runtime.cudaStreamEndCapture(stream.handle, byref(graph))
        try:
            if hasattr(runtime, "cudaGraphInstantiateWithFlags"):
                handle = self._make("cudaGraphInstantiateWithFlags", "cudaGraphExecDestroy", graph, 0)
            else:
                handle = self._make("cudaGraphInstantiate", "cudaGraphExecDestroy", graph, None, None, 0)
        finally:
            runtime.cudaGraphDestroy(graph)
        return _Graph(handle, runtime)

    def _make(self, make: str, free: str, *arguments: Any) -> "_Handle":
        """A handle that the function `make` gives and the function `free` takes back."""
        if self._context is None:
            raise CudaError("{} failed: this thread has not entered CUDA's context".format(make))
        library = self._driver if make.startswith("cu") and not make.startswith("cuda") else self._runtime
        value = c_void_p()
        getattr(library, make)(byref(value), *arguments)
        return _Handle(value.value or 0, getattr(library, free), self._context)


def load_ctypes_cuda() -> CtypesCuda:
    """CUDA through ctypes, with the first libcudart that loads and is not newer than the driver.

    Raises:
        JetsonError: there is no driver, or no runtime that it knows.
    """
    driver = load_library("libcuda.so.1")
    if isinstance(driver, str):
        raise JetsonError("there is no usable NVIDIA driver here (libcuda.so.1 {})".format(driver))
    known, seen = c_int(), ["libcudart is not installed"]
    driver.cuDriverGetVersion(byref(known))
    for path in runtime_paths("/"):
        library = load_library(path)
        if isinstance(library, str):
            seen.append("{} {}".format(path, library))
            continue
        version = c_int()
        library.cudaRuntimeGetVersion(byref(version))
        if version.value // 1000 > known.value // 1000:
            seen.append("{} is of CUDA {}, newer than the driver".format(path, spell_version(version.value)))
            continue
        return CtypesCuda(runtime_functions(library), driver_functions(driver))
    raise JetsonError("CUDA's runtime does not load ({}); fastnas doctor says more".format(seen[-1]))


class _Context:
    """The primary context, retained as long as something in it is left."""

    def __init__(self, driver: Functions, number: int) -> None:
        self._driver, self._number = driver, number
        self._value = c_void_p()
        driver.cuDevicePrimaryCtxRetain(byref(self._value), number)

    def push(self) -> None:
        self._driver.cuCtxPushCurrent_v2(self._value)

    def pop(self) -> None:
        self._driver.cuCtxPopCurrent_v2(byref(c_void_p()))

    def __del__(self) -> None:
        if self._value:
            with _forgiven():
                self._driver.cuDevicePrimaryCtxRelease(self._number)


class _Handle:
    """A handle, given back once; in its context, whichever thread does it."""

    def __init__(self, value: int, free: Callable[[Any], None], context: _Context) -> None:
        self.value = value
        self._free, self._context = free, context

    def close(self) -> None:
        free, context = self.__dict__.pop("_free", None), self.__dict__.pop("_context", None)
        if free is None:
            return
        with _forgiven():
            context.push()
            try:
                free(self.value)
            finally:
                context.pop()

    __del__ = close


class _Owner:
    """What all objects share: a handle, which `close` gives back."""

    def __init__(self, handle: _Handle, library: Any = None) -> None:
        self._handle, self._library = handle, library

    def close(self) -> None:
        """See the interface."""
        self._handle.close()


class _DeviceMemory(_Owner, Memory):
    @property
    def address(self) -> int:  # type: ignore[override]
        return self._handle.value


class _ArraySource:
    """What the arrays on host memory stand on; freed with the last of them."""

    def __init__(self, handle: _Handle, shape: Tuple[int, ...], dtype: Any) -> None:
        self._handle = handle
        self.__array_interface__ = {
            "data": (handle.value, False),
            "shape": tuple(shape),
            "typestr": dtype.str,
            "version": 3,
        }


class _Stream(_Owner, StreamInterface):
    @property
    def handle(self) -> int:  # type: ignore[override]
        return self._handle.value

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        self._library.cudaStreamSynchronize(self._handle.value)


class _Event(_Owner, Event):
    def record(self, stream: Any) -> None:
        """See `Event.record`."""
        self._library.cudaEventRecord(self._handle.value, stream.handle)

    def synchronize(self) -> None:
        """See `Event.synchronize`."""
        self._library.cudaEventSynchronize(self._handle.value)

    def milliseconds_since(self, earlier: Any) -> float:
        """See `Event.milliseconds_since`."""
        found = c_float()
        self._library.cudaEventElapsedTime(byref(found), earlier._handle.value, self._handle.value)
        return found.value


class _Module(_Owner, Module):
    def __init__(self, handle: _Handle, driver: Functions) -> None:
        super().__init__(handle, driver)
        self._kernels: Dict[str, c_void_p] = {}

    def launch(
        self, name: str, grid: Tuple[int, int, int], block: Tuple[int, int, int], arguments: Sequence[Any], stream: Any
    ) -> None:
        """See `Module.launch`."""
        if name not in self._kernels:
            found = c_void_p()
            self._library.cuModuleGetFunction(byref(found), self._handle.value, name.encode())
            self._kernels[name] = found
        values = [np.array(argument) for argument in arguments]
        pointers = (c_void_p * len(values))(*[value.ctypes.data for value in values])
        self._library.cuLaunchKernel(self._kernels[name], *grid, *block, 0, stream.handle, pointers, None)


class _Graph(_Owner, Graph):
    def launch(self, stream: Any) -> None:
        """See `Graph.launch`."""
        self._library.cudaGraphLaunch(self._handle.value, stream.handle)


@contextmanager
def _forgiven() -> Iterator[None]:
    """Freeing goes on where CUDA refuses, as it does after a failed launch; the end of the process frees the rest."""
    try:
        yield
    except CudaError:
        pass
