"""A new engine against its graph: one image through both, before anything is measured or shown with the engine.

TensorRT chooses among many kernels, and in reduced precision its own mix of types; only running the engine shows that
it still computes the network. ONNX Runtime runs the very file that the engine was built from, at the same size.
"""

from importlib.util import find_spec
from typing import Dict, Optional

import numpy as np

from fastnas.jetson.engine.base import Engine, Log
from fastnas.jetson.errors import first_line
from fastnas.jetson.sidecar import Sidecar, Size
from fastnas.jetson.system.machine import Machine, onnxruntime_install

ALLOWED = {"fp32": 0.02, "fp16": 0.05, "int8": 0.25}
"""Largest difference by precision, as a share of the largest value. An engine that is wrong is off by about 1.

In fp32 there may be TF32, with fp16's mantissa; rounding alone makes some 0.002 in fp16, and in INT8, where values that
round to the other side set off others, 0.05.
"""


def difference(engine: Engine, spec: Sidecar, size: Size, onnx: str, log: Log) -> Optional[float]:
    """How far an engine's outputs are from its graph's, as a share of the largest value; None without a comparison.

    Of several outputs the worst counts. Of class ids it is the share of pixels that differ, and of peaks their heights
    count, for of two that are as high either may win.

    Args:
        engine: whose input is overwritten.
        spec: the artifact's sidecar.
        size: (H, W) that it was opened for.
        onnx: path of the file that it was built from.
        log: receives the reason why there is no comparison.
    """
    if find_spec("onnxruntime") is None:
        install = onnxruntime_install(Machine().generation)
        log("the engine is not compared with its graph: ONNX Runtime is not installed; run: " + install)
        return None
    import onnxruntime

    fill(engine.input, spec, size)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Its optimisers compute quantised fp16 values wrong.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        graphs = session.run([output.name for output in spec.outputs], {spec.input.name: np.array(engine.input)})
    except Exception as error:  # its exceptions share no base class but this one
        log("the engine is not compared with its graph: ONNX Runtime says {}".format(first_line(error)))
        return None
    return largest_share(engine.run(), dict(zip((output.name for output in spec.outputs), graphs)), spec)


def largest_share(found: Dict[str, np.ndarray], wanted: Dict[str, np.ndarray], spec: Sidecar) -> float:
    """The difference of the outputs that differ most; see `difference`."""
    return max(_share(output.decode, found[output.name], wanted[output.name]) for output in spec.outputs)


def _share(decode: str, found: np.ndarray, wanted: np.ndarray) -> float:
    """The difference between two arrays of an output."""
    if decode == "labels":
        return float(np.mean(found != wanted))
    if decode == "peaks":
        found, wanted = found[..., 2], wanted[..., 2]
    largest = float(np.abs(found - wanted).max() / (np.abs(wanted).max() or 1.0))
    return largest if np.isfinite(largest) else float("inf")


def complaint(name: str, found: float, precision: str) -> str:
    """The line about an engine that differs by more than `ALLOWED`."""
    message = "the engine of {} is wrong: it differs from its graph by {:.3g} of the largest value ({} is allowed)"
    return message.format(name, found, ALLOWED[precision]) + "; try another --precision"


def fill(array: np.ndarray, spec: Sidecar, size: Size) -> None:
    """Fill an input with squares of random colours, and noise."""
    random = np.random.RandomState(0)
    coarse = random.randint(0, 256, (-(-size[0] // 32), -(-size[1] // 32), 3))
    squares = coarse.repeat(32, 0).repeat(32, 1)[: size[0], : size[1]]
    image = np.clip(squares + random.randint(-16, 17, squares.shape), 0, 255)
    if spec.input.layout == "NCHW":
        array[0] = ((image / 255 - spec.input.mean) / spec.input.std).transpose(2, 0, 1)
    else:
        array[0] = image
