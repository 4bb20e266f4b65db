"""Engines that report the time of each layer, by the runtimes' own profilers. Profiling slows a pass down.

ONNX Runtime writes a file of events; TensorRT, from 8.2 on, calls an `IProfiler` after each synchronous pass: the
asynchronous ones report only from 8.5 on.
"""

import json
import os
import tempfile
from bisect import bisect_right
from typing import Any, Callable, Dict, List, NamedTuple

from fastnas.jetson.engine.base import Engine, Log
from fastnas.jetson.engine.opening import resolve_engine
from fastnas.jetson.engine.ort import OnnxRuntimeEngine
from fastnas.jetson.engine.trt import TensorRTEngine
from fastnas.jetson.engine.trt_tensors import Tensors
from fastnas.jetson.errors import Unsupported
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.sidecar import Artifact, Size

KERNEL = "_kernel_time"
"""What ONNX Runtime appends to an operator's name where it has run it."""


class ProfiledPass(NamedTuple):
    """One pass.

    Attributes:
        ms: milliseconds of the pass.
        layers: milliseconds by the runtime's name of a layer, in the order of execution.
    """

    ms: float
    layers: Dict[str, float]


def profile(
    artifact: Artifact,
    size: Size,
    precision: str,
    options: EngineOptions,
    fill: Callable[[Engine], None],
    passes: int,
    log: Log,
) -> List[ProfiledPass]:
    """Run passes in an engine of their own and time each layer.

    Args:
        artifact: what to run.
        size: (H, W).
        precision: `fp32`, `fp16` or `int8`.
        options: which engine, and how it runs.
        fill: fills the engine's input, once.
        passes: how many.
        log: receives lines about the building of an engine.

    Raises:
        Unsupported: the runtime has no profiler of layers.
        JetsonError: as `open_engine`.
    """
    name = resolve_engine(options.engine)
    if name == "tensorrt":
        with ProfiledTensorRT(artifact, size, precision, options, log) as engine:
            fill(engine)
            return [engine.run_profiled() for _ in range(passes)]
    if name != "onnxruntime":
        raise Unsupported("{} does not tell the time of each layer; onnxruntime and tensorrt do".format(name))
    with tempfile.TemporaryDirectory(prefix="fastnas-layers-") as folder:
        with ProfiledOnnxRuntime(artifact, size, precision, options.threads, folder) as engine:
            fill(engine)
            for _ in range(passes):
                engine.run()
            return read_events(engine.end())[-passes:]  # before them is the one that allocates the outputs


class ProfiledOnnxRuntime(OnnxRuntimeEngine):
    """ONNX Runtime on the CPU, which notes what it does."""

    def __init__(self, artifact: Artifact, size: Size, precision: str, threads: int, folder: str) -> None:
        self._folder = folder
        super().__init__(artifact, size, precision, "CPUExecutionProvider", threads)

    def _session_options(self, runtime: Any, threads: int) -> Any:
        options = super()._session_options(runtime, threads)
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(self._folder, "layers")
        return options

    def __enter__(self) -> "ProfiledOnnxRuntime":
        return self

    def end(self) -> List[Dict[str, Any]]:
        """The events since the session began; it notes no more."""
        with open(self._session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
        return list(events)


def read_events(events: List[Dict[str, Any]]) -> List[ProfiledPass]:
    """The passes in ONNX Runtime's events, which are in microseconds and in no order."""
    runs = sorted((each["ts"], each["dur"]) for each in events if each["name"] == "model_run")
    starts = [start for start, _ in runs]
    passes = [ProfiledPass(duration / 1e3, {}) for _, duration in runs]
    for each in sorted(events, key=lambda event: event["ts"]):
        if each.get("cat") == "Node" and each["name"].endswith(KERNEL):
            layers = passes[bisect_right(starts, each["ts"]) - 1].layers
            name = each["name"][: -len(KERNEL)]
            layers[name] = layers.get(name, 0.0) + each["dur"] / 1e3
    return passes


class ProfiledTensorRT(TensorRTEngine):
    """TensorRT, whose passes are synchronous."""

    _profiler: Any

    def _bind(self, trt: Any, tensors: Tensors, addresses: Dict[str, int]) -> Callable[[], Any]:
        self._hold("_profiler", make_profiler(trt))
        stream, execute = self._stream, tensors.bind_profiled(addresses, self._profiler)

        def run() -> Any:
            stream.synchronize()  # the input's copy: the pass is in another stream
            return execute()

        return run

    def _open(self, trt: Any, precision: str, options: EngineOptions, log: Log) -> None:
        """As the others, but for the graph: TensorRT tells a profiler nothing of a recorded pass."""
        if not hasattr(trt, "IProfiler"):
            message = "TensorRT {} does not tell the time of each layer; 8.2 and later do"
            raise Unsupported(message.format(trt.__version__))
        super()._open(trt, precision, options._replace(graph=False), log)

    def __enter__(self) -> "ProfiledTensorRT":
        return self

    def run_profiled(self) -> ProfiledPass:
        """One pass."""
        self._profiler.layers = {}
        self.run()
        assert self.stages is not None
        return ProfiledPass(self.stages.compute, self._profiler.layers)


def make_profiler(trt: Any) -> Any:
    """Adds up the milliseconds of each layer in `layers`."""

    class Profiler(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.layers: Dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.layers[layer_name] = self.layers.get(layer_name, 0.0) + ms

    return Profiler()
