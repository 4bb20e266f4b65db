"""The interface of an engine: an artifact at one input size, ready to run.

An engine belongs to the thread that opened it. Its input and output arrays are allocated once: fill `input`, call
`run`, read the returned arrays before the next `run`.
"""

import threading
import time
from contextlib import ExitStack
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from fastnas.jetson.engine.cuda.interface import Cuda
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.sidecar import Artifact, Output, Size

Log = Callable[[str], None]
"""Receives a line about work that takes long."""


class Stages(NamedTuple):
    """Milliseconds of one pass; None for a stage that an engine does not have or cannot tell apart.

    Attributes:
        inference: from the call to the finished output, on the host's clock.
        copy_in: host to device, and what is processed there before the network.
        compute: the network alone.
        copy_out: what is processed there after it, and device to host.
        enqueue: of the host, to hand the network's work to the GPU. Where it is as long as `compute`, the GPU waits for
            launches.
    """

    inference: float
    copy_in: Optional[float]
    compute: float
    copy_out: Optional[float]
    enqueue: Optional[float] = None


class OnGpu(NamedTuple):
    """Where an engine on the GPU has its inputs and outputs.

    Attributes:
        cuda: in whose context they are.
        memory: their kind, see `buffers`.
        addresses: by name.
    """

    cuda: Cuda
    memory: str
    addresses: Dict[str, int]


class Around:
    """Work on the GPU before and after a network, in the stream of its pass. Every method may raise CudaError.

    Attributes:
        arrays: what is computed in the places of some of the engine's outputs, by their names.
    """

    arrays: Dict[str, np.ndarray]

    def enqueue_input(self, stream: Any) -> None:
        """Enqueue what makes the network's input."""
        raise NotImplementedError

    def enqueue_outputs(self, stream: Any) -> None:
        """Enqueue what makes `arrays` of the network's outputs."""
        raise NotImplementedError

    def close(self) -> None:
        """Free what it holds."""
        raise NotImplementedError


class Engine:
    """The interface of all engines. A subclass allocates in `__init__`, through `_hold`, and implements `_run`.

    Attributes:
        input: array to fill, with the sidecar's layout, type and size.
        outputs: the arrays that `run` returns, by the names of the sidecar's outputs.
        stages: milliseconds of the last `run`.
        about: name, version and settings, for reports.
        on_gpu: where work around the network finds its input and outputs on the GPU; None where there is no such place.
    """

    input: np.ndarray
    outputs: Dict[str, np.ndarray]
    stages: Optional[Stages] = None
    about: Dict[str, Any]
    on_gpu: Optional[OnGpu] = None

    def __init__(self, artifact: Artifact, size: Size) -> None:
        self._artifact = artifact
        self._size = size
        self._owner = threading.get_ident()
        self._resources = ExitStack()

    def feed(self, array: np.ndarray) -> None:
        """Make an array like `input`, which is the engine's from now on, the input of the next pass."""
        np.copyto(self.input, array)

    def run(self) -> Dict[str, np.ndarray]:
        """One pass over `input`; returns `outputs`."""
        if threading.get_ident() != self._owner:
            raise JetsonError("an engine runs only in the thread that opened it: hand the images to that thread")
        start = time.perf_counter()
        copy_in, compute, copy_out, enqueue = self._run()
        inference = (time.perf_counter() - start) * 1000
        self.stages = Stages(inference, copy_in, inference if compute is None else compute, copy_out, enqueue)
        return self.outputs

    def _run(self) -> Tuple[Optional[float], Optional[float], Optional[float], Optional[float]]:
        """One pass; copy in, compute, copy out and enqueue in milliseconds, as far as they can be told apart."""
        raise NotImplementedError

    def attach(self, around: Around) -> None:
        """From the next pass on do this around the network; `close` closes it. Only where there is `on_gpu`."""
        raise NotImplementedError

    def _hold(self, name: str, value: Any) -> Any:
        """Set an attribute that `close` removes again, the last one first, which frees what it holds."""
        self._resources.callback(self.__dict__.pop, name, None)
        setattr(self, name, value)
        return value

    def close(self) -> None:
        """Free what the engine holds, in reverse order of its allocation."""
        self._resources.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _check_output(self, output: Output, shape: List[int], dtype: Any) -> None:
        """Compare an output of the graph with the sidecar's.

        Raises:
            JetsonError: they differ.
        """
        name, wanted = self._artifact.sidecar.name, output.shape(self._size)
        message = "{}: the graph's output {} is {}, the sidecar has {}; export it again"
        if tuple(shape) != wanted:
            raise JetsonError(message.format(name, output.name, list(shape), list(wanted)))
        if output.decode != "labels" and np.dtype(dtype) != np.float32:
            raise JetsonError(message.format(name, output.name, np.dtype(dtype), "float32"))
