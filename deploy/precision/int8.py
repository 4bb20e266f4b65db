"""INT8: Q/DQ graphs by ONNX Runtime's static quantisation, one for each kind of engine.

There are two files, because TensorRT refuses what is fast in ONNX Runtime on a CPU (unsigned values with zero points,
every operator quantised), and what TensorRT parses (symmetric values, quantisers only before convolutions, at their
weights and at what is added to their outputs, biases in float32) is slow in ONNX Runtime.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

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
        residuals: whether what is added to a convolution's output is quantised, see `quantise_residuals`.
        options: of ONNX Runtime's quantiser.
    """

    target: str
    path: str
    unsigned: bool
    operators: tuple[str, ...]
    residuals: bool = False
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
    residuals=True,
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
    tolerance = ceiling = 0.1  # 0.02 to 0.05 is usual
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
    exempt = sorted({*always_float(model), *keep})
    values = quantization.QuantType.QUInt8 if scheme.unsigned else quantization.QuantType.QInt8
    quantiser = quantization.QDQQuantizer(
        copy,
        True,  # weights get a scale for each channel
        False,
        quantization.QuantType.QInt8,
        values,
        ranges,
        [],
        exempt,
        list(scheme.operators),
        dict(scheme.options),
    )
    quantiser.quantize_model()
    if scheme.residuals:
        quantise_residuals(quantiser.model.model.graph, model, ranges, exempt)
    quantiser.model.topological_sort()
    result: onnx.ModelProto = quantiser.model.model
    result.graph.ClearField("value_info")  # it still names values that are gone
    onnx.checker.check_model(result)
    return result


def quantise_residuals(graph: onnx.GraphProto, model: onnx.ModelProto, ranges: Any, exempt: Collection[str]) -> None:
    """Quantise what a sum adds to the output of a convolution.

    TensorRT computes such a sum inside the convolution, in INT8 only if what it adds is INT8 too (NVIDIA's guide, "Q/DQ
    placement": quantise the residual input). A value that a convolution reads as well has its quantiser already.

    Args:
        graph: with quantisers, to be changed; its operators may come in any order after.
        model: in float32, of which it was made.
        ranges: what `calibrate` found.
        exempt: names of operators that stay in float32.
    """
    order = {node.output[0]: (number, node) for number, node in enumerate(model.graph.node)}
    uses = Counter(value for node in model.graph.node for value in node.input)
    uses.update(value.name for value in model.graph.output)

    def is_free(value: str) -> bool:
        """Whether it is made by a quantised convolution for one sum alone."""
        node = order[value][1] if value in order else None
        return node is not None and node.op_type in ("Conv", "ConvTranspose") and uses[value] == 1

    made = {value for node in graph.node for value in node.output}
    for node in list(graph.node):
        inputs = list(node.input)
        free = [value for value in inputs if is_free(value) and order[value][1].name not in exempt]
        if node.op_type != "Add" or node.name in exempt or not free or len(set(inputs)) != 2:
            continue
        last = max(free, key=lambda value: order[value][0])  # the sum is computed where its last term is made
        other = inputs.index(last) ^ 1
        residual = inputs[other]
        if residual not in order:
            continue
        quantised = f"{residual}_DequantizeLinear_Output"
        if quantised not in made:
            made.add(quantised)
            largest = float(np.abs(np.asarray(ranges[residual].range_value)).max())
            scale: NDArray[Any] = np.array(largest / 127 or 1.0, np.float32)
            zero: NDArray[Any] = np.array(0, np.int8)
            names = [f"{residual}_scale", f"{residual}_zero_point"]
            for name, value in zip(names, (scale, zero), strict=True):
                graph.initializer.append(numpy_helper.from_array(value, name))
            middle = f"{residual}_QuantizeLinear_Output"
            for step, source, target in (("Quantize", residual, middle), ("Dequantize", middle, quantised)):
                name = f"{residual}_{step}Linear"
                graph.node.append(helper.make_node(f"{step}Linear", [source, *names], [target], name=name))
        node.input[other] = quantised


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
