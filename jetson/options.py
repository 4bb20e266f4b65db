"""Options that the benchmark and the camera share."""

import click

ENGINE = click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="tensorrt, onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt, or auto: TensorRT where it is installed.",
)
THREADS = click.option(
    "--threads", default=0, type=click.IntRange(0), help="Of ONNX Runtime on a CPU; 0 is its own choice."
)
