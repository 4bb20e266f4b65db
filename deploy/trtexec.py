"""NVIDIA's own commands that build the engines of an artifact, and compare them with ONNX Runtime."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from types import SimpleNamespace

from fastnas.jetson.engine.build import BuildOrder
from fastnas.jetson.engine.trt import choose_graph
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.sidecar import PRECISIONS, Artifact, Size

GENERATIONS = {
    "TensorRT up to 10 (before 8.4 say --workspace= instead of --memPoolSize=workspace:)": SimpleNamespace(
        BuilderFlag=SimpleNamespace(FP16=0, INT8=1)
    ),
    "TensorRT 11": SimpleNamespace(BuilderFlag=SimpleNamespace()),
}
"""What `choose_graph` looks at: which of the builder's flags a release has."""


def commands(artifact: Artifact, size: Size, workspace_mb: int, dla: int | None) -> Iterator[str]:
    """`trtexec` and `polygraphy` for each precision at a size (H, W), under the releases that they are for."""
    spec = artifact.sidecar.input
    for release, trt in GENERATIONS.items():
        lines = []
        for precision in PRECISIONS if dla is None else ("fp16",):
            try:
                file, flags, typed = choose_graph(trt, artifact, precision, size)
            except JetsonError:  # the artifact has no such file
                continue
            engine = f"{artifact.sidecar.name}-{precision}.engine"
            onnx, shape = artifact.path(file), spec.shape(size)
            order = BuildOrder(onnx, engine, spec.name, shape, flags, typed, workspace_mb, dla=dla)
            lines += [order.trtexec(), polygraphy(order)]
        if lines:
            yield from [f"By hand, with {release}:", *lines]


def polygraphy(order: BuildOrder) -> str:
    """The command that builds the same and shows how far ONNX Runtime's output is from its own."""
    shape = f"{order.input}:[{','.join(map(str, order.shape))}]"
    words = ["polygraphy", "run", order.onnx, "--trt", "--onnxrt", "--pool-limit", f"workspace:{order.workspace_mb}M"]
    # TensorRT's builder allows TF32 unless told otherwise; Polygraphy tells it otherwise.
    words += ["--tf32", *(f"--{flag.lower()}" for flag in order.flags)]
    words += ["--strongly-typed"] if order.typed else []
    words += [] if order.dla is None else ["--use-dla", "--allow-gpu-fallback"]
    for option in ("--trt-min-shapes", "--trt-opt-shapes", "--trt-max-shapes", "--input-shapes"):
        words += [option, shape]
    return shlex.join(words)
