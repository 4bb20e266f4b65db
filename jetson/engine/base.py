"""Running an artifact: one small interface, and the choice of what stands behind it.

An engine belongs to the thread that opened it. Its input and output arrays are allocated once: fill `input`, call
`run`, read the returned array before the next `run`.
"""

import threading
import time
from importlib.util import find_spec
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from fastnas.jetson.engine.build import DEFAULT_WORKSPACE_MB
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.options import ENGINES
from fastnas.jetson.sidecar import Artifact, Size

Progress = Callable[[str], None]


class Stages(NamedTuple):
    """What one pass cost, in milliseconds; a stage that an engine does not have or cannot tell apart is None.

    Attributes:
        inference: from the call to the finished output, on the host's clock.
        copy_in: host to device.
        compute: the network alone.
        copy_out: device to host.
    """

    inference: float
    copy_in: Optional[float]
    compute: float
    copy_out: Optional[float]


class Engine:
    """The interface of all engines; a subclass fills the arrays in `__init__` and implements `_run`.

    Attributes:
        input: array to fill, with the sidecar's layout, type and size.
        output: the array that `run` returns.
        stages: what the last `run` cost.
        about: name, version and settings, for reports.
    """

    input: np.ndarray
    output: np.ndarray
    stages: Optional[Stages] = None

    def __init__(self, artifact: Artifact, size: Size, about: Dict[str, Any]) -> None:
        self.about = about
        self._artifact = artifact
        self._size = size
        self._owner = threading.get_ident()

    def run(self) -> np.ndarray:
        """One pass over `input`; returns `output`."""
        if threading.get_ident() != self._owner:
            raise JetsonError("an engine runs only in the thread that opened it: hand the pictures to that thread")
        start = time.perf_counter()
        copy_in, compute, copy_out = self._run()
        inference = (time.perf_counter() - start) * 1000
        self.stages = Stages(inference, copy_in, inference if compute is None else compute, copy_out)
        return self.output

    def _run(self) -> Tuple[Optional[float], Optional[float], Optional[float]]:
        """One pass; copy in, compute and copy out in milliseconds, as far as they can be told apart."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the engine holds."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _check_output(self, shape: List[int], dtype: Any) -> None:
        """Compare what the graph gives with what the sidecar says.

        Raises:
            JetsonError: they differ.
        """
        sidecar, (height, width) = self._artifact.sidecar, self._size
        planes = (1, _channels(sidecar.task))
        batch = (1,) if sidecar.output.decode == "labels" else planes
        wanted = batch + (height // sidecar.output.stride, width // sidecar.output.stride)
        if sidecar.output.decode == "peaks":
            wanted = planes + (3,)
        if tuple(shape) != wanted:
            message = "{}: the graph's output is {}, the sidecar says {}; export it again"
            raise JetsonError(message.format(sidecar.name, list(shape), list(wanted)))
        if sidecar.output.decode != "labels" and np.dtype(dtype) != np.float32:
            message = "{}: the graph's output is {}, the sidecar says float32; export it again"
            raise JetsonError(message.format(sidecar.name, np.dtype(dtype)))


def _channels(task: Dict[str, Any]) -> int:
    return len(task.get("classes") or task.get("joints") or "1")


def resolve_engine(name: str) -> str:
    """The engine that is meant: `auto` is TensorRT where it and pycuda are installed, else ONNX Runtime.

    Raises:
        JetsonError: there is no such engine.
    """
    if name not in ENGINES:
        raise JetsonError("no engine {!r}; there are {}".format(name, ", ".join(ENGINES)))
    if name != "auto":
        return name
    return "tensorrt" if find_spec("tensorrt") and find_spec("pycuda") else "onnxruntime"


def target_of(engine: str) -> str:
    """Which of a sidecar's `targets` an engine (not `auto`) takes files of."""
    return "tensorrt" if engine == "tensorrt" else "onnxruntime"


def open_engine(
    artifact: Artifact,
    size: Size,
    precision: str = "fp32",
    engine: str = "auto",
    threads: int = 0,
    progress: Progress = lambda line: None,
    workspace_mb: int = DEFAULT_WORKSPACE_MB,
    dla: Optional[int] = None,
) -> Engine:
    """Open an artifact for pictures of `size` (H, W) in this thread.

    Args:
        artifact: what to run.
        size: multiples of the sidecar's `multiple_of`.
        precision: `fp32`, `fp16` or `int8`.
        engine: as in `resolve_engine`.
        threads: of ONNX Runtime on the CPU; 0 is its own choice.
        progress: receives lines about what takes long.
        workspace_mb: scratch memory that TensorRT may use.
        dla: number of the deep learning accelerator that TensorRT shall use; None is the GPU alone.

    Raises:
        JetsonError: the engine is not installed, or the artifact or the machine does not fit.
    """
    engine = resolve_engine(engine)
    if engine == "tensorrt":
        from fastnas.jetson.engine.trt import TensorRTEngine

        return TensorRTEngine(artifact, size, precision, progress, workspace_mb, dla)
    if dla is not None:
        raise JetsonError("only TensorRT knows the DLA: --dla needs --engine tensorrt, not {}".format(engine))
    from fastnas.jetson.engine.ort import OnnxRuntimeEngine

    provider = {"onnxruntime": "CPU", "onnxruntime-cuda": "CUDA", "onnxruntime-tensorrt": "Tensorrt"}[engine]
    return OnnxRuntimeEngine(artifact, size, precision, provider + "ExecutionProvider", threads)
