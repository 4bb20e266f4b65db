"""Options that the benchmark, the camera and the export share."""

import click

from fastnas.jetson.engine.build import DEFAULT_WORKSPACE_MB

ENGINE = click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="tensorrt, onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt, or auto: TensorRT where it is installed.",
)
THREADS = click.option(
    "--threads", default=0, type=click.IntRange(0), help="Of ONNX Runtime on a CPU; 0 is its own choice."
)
WORKSPACE = click.option(
    "--workspace",
    "workspace_mb",
    default=DEFAULT_WORKSPACE_MB,
    show_default=True,
    type=click.IntRange(1),
    metavar="MB",
    help="Scratch memory that TensorRT may use.",
)
DLA = click.option(
    "--dla",
    type=click.IntRange(0),
    metavar="CORE",
    help="Run TensorRT's fp16 engines on this deep learning accelerator, and on the GPU what it cannot.",
)
