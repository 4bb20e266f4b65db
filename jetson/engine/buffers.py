"""The memory of an engine's inputs and outputs, by what the GPU and the CPU do fast on a device.

| kind | the host's array | the GPU reads and writes |
|---|---|---|
| `mapped` | page-locked | the same memory: nothing is copied |
| `managed` | moved by the driver | the same memory |
| `pinned` | page-locked | a copy in device memory |
| `ordinary` | NumPy's own | a copy in device memory |

An integrated GPU shares the board's memory, so that a copy is work for nothing. But below compute capability 7.2 (TX2,
Nano) the CPU does not cache page-locked memory (CUDA for Tegra, "Memory types"): reading it is about ten times slower
than a copy of the whole.
"""

from typing import Any, Optional, Tuple

import numpy as np

from fastnas.jetson.engine.cuda.interface import Cuda, Device, Memory

CACHED = (7, 2)
"""The first compute capability of integrated GPUs whose page-locked memory the CPU caches."""


def choose_memory(asked: str, device: Device) -> Tuple[str, str]:
    """The kind of memory, and why.

    Args:
        asked: `auto`, or a kind.
        device: the GPU.
    """
    if asked != "auto":
        return asked, "as asked"
    if not device.integrated:
        return "pinned", "for this GPU has memory of its own"
    if device.capability < CACHED:
        return "ordinary", "for page-locked memory is not cached on this GPU's board"
    return "mapped", "for this GPU shares the board's memory"


class Buffer:
    """One input or output.

    Attributes:
        array: the host's.
        address: for TensorRT.
        copied: whether it must be copied between host and device.
    """

    def __init__(self, cuda: Cuda, kind: str, shape: Tuple[int, ...], dtype: Any) -> None:
        self._cuda = cuda
        self._memory: Optional[Memory] = None
        self.copied, self._ordinary = kind in ("pinned", "ordinary"), kind == "ordinary"
        if self._ordinary:
            self.array, address = np.zeros(shape, dtype), None
        else:
            self.array, address = cuda.host_memory(kind, shape, dtype)
        if self.copied:
            self._memory = cuda.allocate(self.array.nbytes)
            address = self._memory.address
        assert address is not None
        self.address: int = address

    def put(self, values: np.ndarray) -> None:
        """Make values of the array's shape and type what `copy_in` copies; they must not change before it is done."""
        if self._ordinary:
            self.array = np.ascontiguousarray(values)
        else:
            np.copyto(self.array, values)

    def copy_in(self, stream: Any) -> None:
        """Enqueue the copy to the device."""
        if self._memory is not None:
            self._cuda.copy_in(self._memory, self.array, stream)

    def copy_out(self, stream: Any) -> None:
        """Enqueue the copy to the host."""
        if self._memory is not None:
            self._cuda.copy_out(self.array, self._memory, stream)

    def close(self) -> None:
        """Free the device's memory; the host's array goes with the last who holds it."""
        if self._memory is not None:
            self._memory.close()
        self.__dict__.pop("array", None)
