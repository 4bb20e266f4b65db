"""INT8: Q/DQ graphs by ONNX Runtime's static quantisation, one for each kind of engine.

There are two files, because TensorRT refuses what is fast in ONNX Runtime on a CPU (unsigned values with zero points,
every operator quantised), and what TensorRT parses (symmetric values, quantisers only before convolutions and at their
weights, biases in float32) is slow in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fastnas.deploy.onnx.peaks import PREFIX
from fastnas.deploy.onnx.writer import INPUT
from fastnas.deploy.parity import Parity, Reference
from fastnas.deploy.precision.base import ReducedPrecision
from fastnas.errors import import_extra
from fastnas.jetson.files import temporary_folder

HELPERS = ("size/", "/taps", "/matrix", "/columns", "/rows", PREFIX)
"""Parts of the names of operators that make masks, single pixels and peaks: quantising them gains nothing."""

AFTER_LOGITS = ("Resize", "Transpose", "ArgMax", "Cast")
"""What a head adds to the network, whose own last operator is the one that makes the output."""


@dataclass(frozen=True)
class Scheme:
    """How the graph is quantised for one kind of engine.

    Attributes:
        target: the engine.
        path: of the file in an artifact.
        unsigned: whether values are 0..255 with a zero point, or -127..127 without.
        operators: the kinds that work on quantised values.
        options: of ONNX Runtime's quantiser.
    """

    target: str
    path: str
    unsigned: bool
    operators: tuple[str, ...]
    options: tuple[tuple[str, Any], ...] = ()


CPU = Scheme(
    "onnxruntime",
    "model.int8.onnx",
    unsigned=True,
    operators=(
        "Conv", "Add", "Mul", "Relu", "Clip", "Concat", "Resize", "GlobalAveragePool", "AveragePool", "MaxPool",
    ),
)  # fmt: skip
TENSORRT = Scheme(
    "tensorrt",
    "model.int8.tensorrt.onnx",
    unsigned=False,
    operators=("Conv", "ConvTranspose"),
    options=(
        ("ActivationSymmetric", True),
        ("WeightSymmetric", True),
        ("QuantizeBias", False),  # its parser takes no 32-bit integers
        ("AddQDQPairToWeight", True),  # TensorRT 8 takes no 8-bit constants
        ("OpTypesToExcludeOutputQuantization", ["Conv", "ConvTranspose"]),
    ),
)
SCHEMES = (CPU, TENSORRT)


class Int8(ReducedPrecision):
    """The INT8 file for one kind of engine.

    Args:
        model: in float32.
        reference: with other images than those that the ranges are of.
        ranges: what `calibrate` found.
        scheme: for which kind of engine.
    """

    precision = "int8"
    tolerance = 0.1  # 0.02 to 0.05 is usual
    agreement = 0.9

    def __init__(self, model: onnx.ModelProto, reference: Reference, ranges: Any, scheme: Scheme) -> None:
        super().__init__(model, reference, (scheme.target,))
        self.path, self.ranges, self.scheme = scheme.path, ranges, scheme

    def make(self, keep: frozenset[str]) -> onnx.ModelProto:
        """The Q/DQ model."""
        return quantise(self.model, self.ranges, self.scheme, keep)

    def error(self, parity: Parity) -> float:
        """The mean error."""
        return parity.mean

    def kept_with(self, name: str) -> frozenset[str]:
        """An operator and those that make its inputs: a value between two is in float32 only if neither quantises it.

        An activation is made together with the convolution before it.
        """
        producers = {node.output[0]: node for node in self.model.graph.node}
        found: set[str] = set()
        left = [(node, 1) for node in self.model.graph.node if node.name == name]
        while left:
            node, steps = left.pop()
            found.add(node.name)
            steps -= node.op_type not in ("Relu", "Clip")
            if steps >= 0:
                left += [(producers[value], steps) for value in node.input if value in producers]
        return frozenset(found)


def calibrate(model: onnx.ModelProto, arrays: Sequence[NDArray[Any]]) -> Any:
    """The least and largest value that every tensor of a float32 model takes.

    Args:
        model: what will be quantised.
        arrays: inputs, each as the model takes it.

    Returns:
        ONNX Runtime's `TensorsData`.
    """
    quantization = import_extra("onnxruntime.quantization", "cpu")
    with temporary_folder("fastnas-calibration") as folder:
        path = folder / "model.onnx"
        onnx.save(model, path)
        calibrator = quantization.create_calibrator(path, augmented_model_path=str(folder / "augmented.onnx"))
        calibrator.collect_data(_reader(quantization, arrays))
        return calibrator.compute_data()


def quantise(model: onnx.ModelProto, ranges: Any, scheme: Scheme, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The Q/DQ graph of a float32 model.

    Args:
        model: the float32 model.
        ranges: what `calibrate` found.
        scheme: for which kind of engine.
        keep: names of operators that stay in float32, besides those of `always_float`.
    """
    quantization = import_extra("onnxruntime.quantization", "cpu")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    values = quantization.QuantType.QUInt8 if scheme.unsigned else quantization.QuantType.QInt8
    quantiser = quantization.QDQQuantizer(
        copy,
        True,  # weights get a scale for each channel
        False,
        quantization.QuantType.QInt8,
        values,
        ranges,
        [],
        sorted({*always_float(model), *keep}),
        list(scheme.operators),
        dict(scheme.options),
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    result: onnx.ModelProto = quantiser.model.model
    result.graph.ClearField("value_info")  # it still names values that are gone
    onnx.checker.check_model(result)
    return result


def always_float(model: onnx.ModelProto) -> list[str]:
    """Operators that are not quantised: what reads the image or makes an output, and helpers.

    A convolution of three channels is slower in INT8 than in float32, and 256 levels of a logit make ties.
    """
    starts = {INPUT, "pixels", "normalised/scaled", "normalised"}
    outputs = {value.name for value in model.graph.output}
    ends = {*outputs, *(source for node in model.graph.node if node.name.startswith(PREFIX) for source in node.input)}
    for node in reversed(model.graph.node):
        if node.output[0] in ends and node.op_type in AFTER_LOGITS:
            ends.add(node.input[0])
    return [
        node.name
        for node in model.graph.node
        if starts & set(node.input) or ends & set(node.output) or any(part in node.name for part in HELPERS)
    ]


def _reader(quantization: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(arrays)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            array = next(self.left, None)
            return None if array is None else {INPUT: np.ascontiguousarray(array)}

    return Reader()
