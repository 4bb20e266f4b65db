"""The interface of CUDA that engines need; `by_pycuda` and `by_ctypes` implement it.

What an object holds of the GPU is freed by `close`, and otherwise when the object is dropped. Host memory alone is
freed with the last array that stands on it, for a caller may still read that array.
"""

import traceback
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.errors import MORE_MEMORY, JetsonError

HOST_KINDS = ("pinned", "mapped", "managed")
"""Kinds of host memory: page-locked; page-locked and mapped for the GPU; moved by the driver to whoever uses it."""

ADVICE = {
    "memory": MORE_MEMORY,
    "launch": "start again; if it comes back, `sudo dmesg | tail` has the driver's reason, often heat or power",
    "other": "start again; if it comes back, fastnas doctor says whether CUDA and the driver fit together",
}


class CudaError(JetsonError):
    """A call of CUDA failed; the text names the call and CUDA's own description.

    Attributes:
        kind: `memory` (there is not enough), `launch` (a kernel failed) or `other`.
    """

    def __init__(self, text: str, kind: str = "other") -> None:
        super().__init__(text)
        self.kind = kind

    def during(self, doing: str) -> JetsonError:
        """The line for a user: what failed, while doing what, and what to do.

        The frames of the failed calls are cleared, for they hold arrays that must go before the context does.
        """
        traceback.clear_frames(self.__traceback__)
        return JetsonError("CUDA failed while {}: {}; {}".format(doing, self, ADVICE[self.kind]))


class Device(NamedTuple):
    """What decides how a GPU is used.

    Attributes:
        name: of the GPU, which boards of one generation share.
        capability: compute capability, such as (6, 2).
        integrated: whether it shares the host's memory, as on a Jetson.
        multiprocessors: number of them, which tells the boards of one generation apart.
    """

    name: str
    capability: Tuple[int, int]
    integrated: bool
    multiprocessors: int


class Memory:
    """Device memory.

    Attributes:
        address: of the GPU.
    """

    address: int

    def close(self) -> None:
        """Free it."""
        raise NotImplementedError


class HostMemory(NamedTuple):
    """Host memory of one of `HOST_KINDS`: an array, and its address for the GPU or None."""

    array: np.ndarray
    address: Optional[int]


class Stream:
    """Work that the GPU does in order.

    Attributes:
        handle: CUDA's own, for TensorRT.
    """

    handle: int

    def synchronize(self) -> None:
        """Wait until all of it is done."""
        raise NotImplementedError

    def close(self) -> None:
        """Free it."""
        raise NotImplementedError


class Event:
    """A moment in a stream."""

    def record(self, stream: Any) -> None:
        """It happens when everything that the stream holds by now is done."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until it has happened."""
        raise NotImplementedError

    def milliseconds_since(self, earlier: Any) -> float:
        """The time from another event to this one, on the GPU's clock."""
        raise NotImplementedError

    def close(self) -> None:
        """Free it."""
        raise NotImplementedError


class Module:
    """Loaded kernels."""

    def launch(
        self, name: str, grid: Tuple[int, int, int], block: Tuple[int, int, int], arguments: Sequence[Any], stream: Any
    ) -> None:
        """Enqueue a kernel.

        Args:
            name: of the kernel.
            grid: numbers of blocks.
            block: numbers of threads of a block.
            arguments: NumPy scalars of the types that the kernel declares; an address is an np.uint64.
            stream: where it is enqueued.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Unload it."""
        raise NotImplementedError


class Graph:
    """Recorded work, which is enqueued by one call."""

    def launch(self, stream: Any) -> None:
        """Enqueue all of it."""
        raise NotImplementedError

    def close(self) -> None:
        """Free it."""
        raise NotImplementedError


class Cuda:
    """CUDA on the first GPU; what is made belongs to the thread that called `enter`. Every method raises CudaError.

    Attributes:
        about: which binding, and which CUDA, for reports.
        device: the GPU.
        has_graphs: whether `capture` works.
    """

    about: str
    device: Device
    has_graphs: bool

    def enter(self) -> Callable[[], None]:
        """Make the GPU's context current in this thread; the function that is returned leaves it again."""
        raise NotImplementedError

    def allocate(self, size: int) -> Memory:
        """Device memory of `size` bytes."""
        raise NotImplementedError

    def host_memory(self, kind: str, shape: Tuple[int, ...], dtype: Any) -> HostMemory:
        """An array in host memory of one of `HOST_KINDS`; its content is undefined."""
        raise NotImplementedError

    def copy_in(self, target: Memory, source: np.ndarray, stream: Any) -> None:
        """Enqueue a copy from the host to the device; the arrays of both copies are contiguous."""
        raise NotImplementedError

    def copy_out(self, target: np.ndarray, source: Memory, stream: Any) -> None:
        """Enqueue a copy from the device to the host."""
        raise NotImplementedError

    def stream(self) -> Stream:
        """A new stream."""
        raise NotImplementedError

    def event(self) -> Event:
        """A new event."""
        raise NotImplementedError

    def module(self, image: bytes) -> Module:
        """Load kernels from machine code (cubin) or PTX."""
        raise NotImplementedError

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> Graph:
        """Record what `enqueue` puts into the stream, without running it."""
        raise NotImplementedError
