"""A new engine against its graph: one picture through both, before anything is measured or shown with it.

TensorRT chooses among many kernels, and in reduced precision its own mix of types; that what it chose is the network is
known only by running it. ONNX Runtime runs the very file that the engine was built from, at the same size.
"""

from importlib.util import find_spec
from typing import Optional

import numpy as np

from fastnas.jetson.engine.base import Engine, Progress
from fastnas.jetson.errors import first_line
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.sidecar import Sidecar, Size

ALLOWED = {"fp32": 0.02, "fp16": 0.05, "int8": 0.25}
"""Largest difference by precision, as a share of the largest value. An engine that is wrong is off by about 1.

In fp32 there may be TF32, with fp16's mantissa; rounding alone makes some 0.002 in fp16, and in INT8, where values that
round to the other side set off others, 0.05.
"""


def difference(engine: Engine, spec: Sidecar, size: Size, onnx: str, say: Progress) -> Optional[float]:
    """How far an engine's output is from its graph's, as a share of the largest value; None if nothing can tell.

    Of class ids it is the share of pixels that differ, and of peaks their heights count, for of two that are as high
    either may win.

    Args:
        engine: whose input is overwritten.
        spec: the artifact's sidecar.
        size: (H, W) that it was opened for.
        onnx: path of the file that it was built from.
        say: told why there is no comparison.
    """
    if find_spec("onnxruntime") is None:
        say("the engine is not compared with its graph: ONNX Runtime is not installed; run: pip3 install onnxruntime")
        return None
    import onnxruntime

    Preprocessor(spec.input, size)(_picture(size), engine.input)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        wanted = session.run([spec.output.name], {spec.input.name: np.array(engine.input)})[0]
    except Exception as error:  # its exceptions share no base class but this one
        say("the engine is not compared with its graph: ONNX Runtime says {}".format(first_line(error)))
        return None
    found = engine.run()
    if spec.output.decode == "labels":
        return float(np.mean(found != wanted))
    if spec.output.decode == "peaks":
        found, wanted = found[..., 2], wanted[..., 2]
    largest = float(np.abs(found - wanted).max() / (np.abs(wanted).max() or 1.0))
    return largest if np.isfinite(largest) else float("inf")


def complaint(name: str, found: float, precision: str) -> str:
    """The line about an engine that differs by more than `ALLOWED`."""
    message = "the engine of {} is wrong: it differs from its graph by {:.3g} of the largest value ({} is allowed)"
    return message.format(name, found, ALLOWED[precision]) + "; try another --precision"


def _picture(size: Size) -> np.ndarray:
    """Squares of random colours, and noise: uint8 [H, W, 3]."""
    random = np.random.RandomState(0)
    coarse = random.randint(0, 256, (-(-size[0] // 32), -(-size[1] // 32), 3))
    squares = coarse.repeat(32, 0).repeat(32, 1)[: size[0], : size[1]]
    return np.clip(squares + random.randint(-16, 17, squares.shape), 0, 255).astype(np.uint8)
