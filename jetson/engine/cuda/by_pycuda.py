"""CUDA through pycuda, which is compiled where it is installed. It cannot capture graphs, 2026.1 included."""

from contextlib import contextmanager
from typing import Any, Callable, Iterator, Sequence, Tuple

import numpy as np

from fastnas.jetson.engine.cuda.interface import Cuda, CudaError, Device, Event, Graph, HostMemory, Memory, Module
from fastnas.jetson.engine.cuda.interface import Stream as StreamInterface
from fastnas.jetson.errors import JetsonError


class PyCuda(Cuda):
    """See `Cuda`.

    Args:
        driver: the module `pycuda.driver`.
    """

    has_graphs = False

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        try:
            driver.init()
            self._device = driver.Device(0)
            attribute, which = self._device.get_attribute, driver.device_attribute
            self.device = Device(
                self._device.name(),
                tuple(self._device.compute_capability()),
                bool(attribute(which.INTEGRATED)),
                attribute(which.MULTIPROCESSOR_COUNT),
            )
        except driver.Error as error:
            raise JetsonError("there is no usable NVIDIA driver here ({})".format(error)) from error
        self.about = "CUDA {} through pycuda".format(".".join(map(str, driver.get_version()[:2])))

    def enter(self) -> Callable[[], None]:
        """See `Cuda.enter`. pycuda before 2020.1 can only make a context of its own, not retain the primary one."""
        with _translated(self._driver):
            if not hasattr(self._device, "retain_primary_context"):
                return self._device.make_context().pop  # which enters it
            context = self._device.retain_primary_context()
            context.push()
        return context.pop

    def allocate(self, size: int) -> Memory:
        """See `Cuda.allocate`."""
        with _translated(self._driver):
            return _Memory(self._driver.mem_alloc(size), self._driver)

    def host_memory(self, kind: str, shape: Tuple[int, ...], dtype: Any) -> HostMemory:
        """See `Cuda.host_memory`."""
        driver = self._driver
        with _translated(driver):
            if kind == "managed":
                array = driver.managed_empty(shape, dtype, mem_flags=driver.mem_attach_flags.GLOBAL)
            elif kind == "mapped":
                array = driver.pagelocked_empty(shape, dtype, mem_flags=driver.host_alloc_flags.DEVICEMAP)
            else:
                return HostMemory(driver.pagelocked_empty(shape, dtype), None)
            return HostMemory(array, int(array.base.get_device_pointer()))

    def copy_in(self, target: Memory, source: np.ndarray, stream: Any) -> None:
        """See `Cuda.copy_in`."""
        with _translated(self._driver):
            self._driver.memcpy_htod_async(target.address, source, stream.own)

    def copy_out(self, target: np.ndarray, source: Memory, stream: Any) -> None:
        """See `Cuda.copy_out`."""
        with _translated(self._driver):
            self._driver.memcpy_dtoh_async(target, source.address, stream.own)

    def stream(self) -> StreamInterface:
        """See `Cuda.stream`."""
        with _translated(self._driver):
            return _Stream(self._driver.Stream(), self._driver)

    def event(self) -> Event:
        """See `Cuda.event`."""
        with _translated(self._driver):
            return _Event(self._driver.Event(), self._driver)

    def module(self, image: bytes) -> Module:
        """See `Cuda.module`."""
        with _translated(self._driver):
            return _Module(self._driver.module_from_buffer(image + b"\0"), self._driver)

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> Graph:
        """See `Cuda.capture`."""
        raise CudaError("pycuda has no graphs; CUDA through ctypes, without pycuda, has")


class _Owner:
    """What all objects share: pycuda's own object, which is freed when it is dropped."""

    def __init__(self, own: Any, driver: Any) -> None:
        self.own, self._driver = own, driver

    def close(self) -> None:
        """See the interface."""
        self.own = None


class _Memory(_Owner, Memory):
    def __init__(self, own: Any, driver: Any) -> None:
        super().__init__(own, driver)
        self.address = int(own)


class _Stream(_Owner, StreamInterface):
    def __init__(self, own: Any, driver: Any) -> None:
        super().__init__(own, driver)
        self.handle = own.handle

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        with _translated(self._driver):
            self.own.synchronize()


class _Event(_Owner, Event):
    def record(self, stream: Any) -> None:
        """See `Event.record`."""
        with _translated(self._driver):
            self.own.record(stream.own)

    def synchronize(self) -> None:
        """See `Event.synchronize`."""
        with _translated(self._driver):
            self.own.synchronize()

    def milliseconds_since(self, earlier: Any) -> float:
        """See `Event.milliseconds_since`."""
        with _translated(self._driver):
            return earlier.own.time_till(self.own)


class _Module(_Owner, Module):
    def launch(
        self, name: str, grid: Tuple[int, int, int], block: Tuple[int, int, int], arguments: Sequence[Any], stream: Any
    ) -> None:
        """See `Module.launch`."""
        with _translated(self._driver):
            self.own.get_function(name)(*arguments, grid=grid, block=block, stream=stream.own)


@contextmanager
def _translated(driver: Any) -> Iterator[None]:
    """Raise CudaError for pycuda's errors, whose text names the call and CUDA's description as well."""
    try:
        yield
    except driver.Error as error:
        failed = isinstance(error, driver.LaunchError)
        kind = "memory" if isinstance(error, driver.MemoryError) else "launch" if failed else "other"
        raise CudaError(str(error), kind) from error
