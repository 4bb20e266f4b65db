"""NVIDIA's own commands that build the engines of an artifact, and compare them with ONNX Runtime."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from types import SimpleNamespace

from fastnas.jetson.engine.build import BuildOrder
from fastnas.jetson.engine.trt import choose_graph
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.sidecar import PRECISIONS, Artifact, Size

GENERATIONS = {
    "TensorRT up to 10 (before 8.4 say --workspace= instead of --memPoolSize=workspace:)": SimpleNamespace(
        BuilderFlag=SimpleNamespace(FP16=0, INT8=1)
    ),
    "TensorRT 11": SimpleNamespace(BuilderFlag=SimpleNamespace()),
}
"""Stand-ins for the module `tensorrt` of a release: `choose_graph` reads which flags the builder has."""


def commands(artifact: Artifact, size: Size, options: EngineOptions) -> Iterator[str]:
    """`trtexec` and `polygraphy` for each precision at a size (H, W), under the releases that they are for."""
    spec = artifact.sidecar.input
    for release, trt in GENERATIONS.items():
        lines = []
        for precision in PRECISIONS if options.dla is None else ("fp16",):
            try:
                file, flags, typed = choose_graph(trt, artifact, precision, size)
            except JetsonError:  # the artifact has no such file
                continue
            engine = f"{artifact.sidecar.name}-{precision}.engine"
            onnx, shape = artifact.path(file), spec.shape(size)
            order = BuildOrder(onnx, engine, spec.name, shape, flags, typed, options.workspace_mb, dla=options.dla)
            lines += [order.trtexec(), polygraphy(order)]
        if lines:
            yield from [f"By hand, with {release}:", *lines]


def polygraphy(order: BuildOrder) -> str:
    """The command that builds the same engine and compares its output to ONNX Runtime's."""
    shape = f"{order.input}:[{','.join(map(str, order.shape))}]"
    words = ["polygraphy", "run", order.onnx, "--trt", "--onnxrt", "--pool-limit", f"workspace:{order.workspace_mb}M"]
    # TensorRT's builder allows TF32 by default, Polygraphy does not.
    words += ["--tf32", *(f"--{flag.lower()}" for flag in order.flags)]
    words += ["--strongly-typed"] if order.typed else []
    words += [] if order.dla is None else ["--use-dla", "--allow-gpu-fallback"]
    for option in ("--trt-min-shapes", "--trt-opt-shapes", "--trt-max-shapes", "--input-shapes"):
        words += [option, shape]
    return shlex.join(words)
