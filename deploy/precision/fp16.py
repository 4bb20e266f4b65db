"""Half precision: a float32 ONNX model becomes a typed fp16 one, whose rounding errors are computed exactly.

Weights and values are fp16, except those of operators that are kept in fp32; input and output stay float32. TensorRT 11
takes precision from the types of the graph alone; older ones may cast the float32 file themselves.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastnas.deploy.onnx.peaks import PREFIX
from fastnas.deploy.parity import Parity
from fastnas.deploy.precision.base import Progress, ReducedPrecision, Variant, value_types

HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT

_SINGLE_INPUTS = {("Resize", 2)}
"""Operators and inputs that are float32 whatever the type of the values."""


class Fp16(ReducedPrecision):
    """The typed fp16 file. Its parity is that of exact fp16 arithmetic, see `rounded`."""

    path, precision = "model.fp16.onnx", "fp16"
    tolerance = 1e-2  # rounding alone makes about 1e-3
    ceiling = 5e-2  # what the device allows an engine in fp16
    agreement = 0.99

    def make(self, keep: frozenset[str]) -> onnx.ModelProto:
        """The typed model."""
        return to_fp16(self.model, keep)

    def simulated(self, made: onnx.ModelProto) -> onnx.ModelProto:
        """The model with every value rounded as fp16 rounds it."""
        return rounded(made)

    def error(self, parity: Parity) -> float:
        """The largest error."""
        return parity.largest

    def build(self, progress: Progress) -> Variant:
        """The file, which also runs as it is."""
        variant = super().build(progress)
        replace(self.reference, images=[self.reference.smallest]).compare(variant.model)
        return variant


def to_fp16(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The model with fp16 weights and values.

    Args:
        model: in float32, as `onnx.writer` makes it.
        keep: names of operators that stay in fp32.
    """
    return _Converter(model, frozenset(keep)).convert()


class _Converter:
    def __init__(self, model: onnx.ModelProto, keep: Collection[str]) -> None:
        self.model, self.keep = model, keep
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.types = value_types(model)
        self.now = {value.name: self.types[value.name] for value in model.graph.input}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.casts: set[str] = set()

    def convert(self) -> onnx.ModelProto:
        outputs = {value.name for value in self.model.graph.output}
        for node in self.model.graph.node:
            kind = SINGLE if node.name in self.keep or _places_joints(node) else HALF
            inputs = [self.read(node, place, name, kind) for place, name in enumerate(node.input)]
            (output,) = node.output
            made = self.types[output]
            if made == SINGLE:
                made = kind
                output = f"{output}/{_suffix(kind)}" if kind == HALF and output in outputs else output
            changed = onnx.NodeProto()
            changed.CopyFrom(node)
            changed.input[:], changed.output[:] = inputs, [output]
            for attribute in changed.attribute:
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i == SINGLE:
                    attribute.i = kind
            self.nodes.append(changed)
            self.now[node.output[0]] = made
            if output != node.output[0]:
                self.nodes.append(
                    helper.make_node("Cast", [output], [node.output[0]], name=f"{output}/cast", to=SINGLE)
                )
                self.now[output], self.now[node.output[0]] = HALF, SINGLE
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        for field, values in (("node", self.nodes), ("initializer", self.initializers.values())):
            result.graph.ClearField(field)
            getattr(result.graph, field).extend(values)
        onnx.checker.check_model(result)
        return result

    def read(self, node: onnx.NodeProto, place: int, name: str, kind: int) -> str:
        """The name under which an operator of type `kind` finds an input."""
        if (node.op_type, place) in _SINGLE_INPUTS:
            kind = SINGLE
        if name in self.weights:
            return self.weight(self.weights[name], kind)
        if not name or self.now[name] == kind or self.now[name] not in (HALF, SINGLE):
            return name
        cast = f"{name}/{_suffix(kind)}"
        if cast not in self.casts:
            self.nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=kind))
            self.casts.add(cast)
        return cast

    def weight(self, tensor: onnx.TensorProto, kind: int) -> str:
        """An initializer in the type that its reader wants."""
        if tensor.data_type != SINGLE or kind == SINGLE:
            self.initializers[tensor.name] = tensor
            return tensor.name
        name = f"{tensor.name}/{_suffix(kind)}"
        if name not in self.initializers:
            with np.errstate(over="ignore"):  # infinity is found by the comparison, with the layer's name
                half = numpy_helper.to_array(tensor).astype(np.float16)
            self.initializers[name] = numpy_helper.from_array(half, name)
        return name


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 model that simulates a typed fp16 model: every fp16 value is rounded, and infinite beyond fp16's range.

    ONNX Runtime has no fp16 operators for most CPUs: it computes them in float32 and drops the casts between, so that
    running the fp16 model itself says nothing about fp16. Here each fp16 value x (from float32 arithmetic, as a GPU's
    tensor cores accumulate) is followed by arithmetic that ONNX Runtime has no reason to simplify: c - (c - x) with
    c = (2^13 + 1) x is x rounded to nearest with 24 - 13 = 11 significant bits (Dekker, "A floating-point technique for
    extending the available precision", 1971); and what is then beyond fp16's range is infinite.

    Values below fp16's normal range (6e-5) keep more digits than they would have; that is at most 3e-8.
    """
    types = value_types(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.graph.ClearField("node")
    result.graph.ClearField("initializer")
    result.graph.ClearField("value_info")
    for tensor in model.graph.initializer:
        if tensor.data_type == HALF:
            tensor = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        result.graph.initializer.append(tensor)
    constants = {"split": 2.0**13 + 1, "largest": 65504.0, "infinity": np.inf}
    for name, value in constants.items():
        result.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"round/{name}"))
    for node in model.graph.node:
        (output,) = node.output
        changed = result.graph.node.add()
        changed.CopyFrom(node)
        for attribute in changed.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == HALF:
                attribute.i = SINGLE
        if types[output] == HALF:
            changed.output[0] = f"{output}/exact"
            result.graph.node.extend(_rounding(changed.output[0], output))
    onnx.checker.check_model(result)
    return result


def _rounding(x: str, out: str) -> list[onnx.NodeProto]:
    steps = (
        ("Mul", ("x", "round/split"), "c"),
        ("Sub", ("c", "x"), "d"),
        ("Sub", ("c", "d"), "near"),
        ("Abs", ("near",), "size"),
        ("Greater", ("size", "round/largest"), "beyond"),
        ("Where", ("beyond", "round/infinity", "near"), ""),
    )

    def name(step: str) -> str:
        return {"x": x, "": out}.get(step, step if step.startswith("round/") else f"{out}/{step}")

    return [helper.make_node(kind, [name(step) for step in inputs], [name(made)]) for kind, inputs, made in steps]


def _places_joints(node: onnx.NodeProto) -> bool:
    """Whether an operator computes on places in heatmaps, which fp16 would round to a fraction of a cell."""
    return any(name.startswith(PREFIX) for name in (*node.input, *node.output))


def _suffix(kind: int) -> str:
    return "fp16" if kind == HALF else "fp32"
