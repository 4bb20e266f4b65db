"""Which engine runs an artifact, and in which precisions; `open_engine` opens it."""

from importlib.util import find_spec
from typing import List

from fastnas.jetson.engine.base import Engine, Log
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.options import ENGINES, EngineOptions
from fastnas.jetson.sidecar import PRECISIONS, Artifact, Size


def resolve_engine(name: str) -> str:
    """The engine that is meant: `auto` is TensorRT where it is installed, else ONNX Runtime.

    Raises:
        JetsonError: there is no such engine.
    """
    if name not in ENGINES:
        raise JetsonError("no engine {!r}; there are {}".format(name, ", ".join(ENGINES)))
    if name != "auto":
        return name
    return "tensorrt" if find_spec("tensorrt") else "onnxruntime"


def target_of(engine: str) -> str:
    """Which of a sidecar's `targets` an engine (not `auto`) takes files of."""
    return "tensorrt" if engine == "tensorrt" else "onnxruntime"


def precisions(artifact: Artifact, engine: str) -> List[str]:
    """The precisions of an artifact that an engine (not `auto`) may run, in the order of `PRECISIONS`.

    TensorRT up to 10 makes fp16 of the fp32 file; TensorRT 11 needs a file, and refuses when the engine is opened.
    """
    target = target_of(engine)
    found = {file.precision for file in artifact.sidecar.files if target in file.targets}
    if target == "tensorrt" and "fp32" in found:
        found.add("fp16")
    return [precision for precision in PRECISIONS if precision in found]


def default_precision(artifact: Artifact, engine: str) -> str:
    """fp16 on TensorRT where this machine's can run it, with or without a file of it; else fp32."""
    if target_of(engine) == "tensorrt" and "fp16" in precisions(artifact, engine):
        from fastnas.jetson.engine.trt import has_fp16_flag, import_tensorrt

        if has_fp16_flag(import_tensorrt()):
            return "fp16"
    return artifact.best_precision(target_of(engine))


def _ignore(line: str) -> None:
    """Drop a line of the log."""


def open_engine(
    artifact: Artifact,
    size: Size,
    precision: str = "fp32",
    options: EngineOptions = EngineOptions(),  # noqa: B008 - it is immutable
    log: Log = _ignore,
) -> Engine:
    """Open an artifact for images of one size in this thread.

    Args:
        artifact: what to run.
        size: (H, W), multiples of the sidecar's `multiple_of`.
        precision: `fp32`, `fp16` or `int8`.
        options: which engine, and how it runs.
        log: receives lines about the building of an engine.

    Raises:
        JetsonError: the engine is not installed, or the artifact or the machine does not fit.
    """
    engine = resolve_engine(options.engine)
    if engine == "tensorrt":
        from fastnas.jetson.engine.trt import TensorRTEngine

        return TensorRTEngine(artifact, size, precision, options, log)
    if options.dla is not None:
        raise JetsonError("only TensorRT knows the DLA: --dla needs --engine tensorrt, not {}".format(engine))
    from fastnas.jetson.engine.ort import OnnxRuntimeEngine

    provider = {"onnxruntime": "CPU", "onnxruntime-cuda": "CUDA", "onnxruntime-tensorrt": "Tensorrt"}[engine]
    return OnnxRuntimeEngine(artifact, size, precision, provider + "ExecutionProvider", options.threads)
