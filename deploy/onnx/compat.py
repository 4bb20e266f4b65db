"""Rules for ONNX files that TensorRT 8.0 and 8.2 parse and that every runtime reads the same way.

Each rule is a function from a model to its problems, one line each. `lint` runs them all.
Sources: TensorRT 8.0's and 8.2's operator support matrix (onnx-tensorrt, docs/operators.md), and measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fastnas.errors import FastnasError

TENSORRT_8_OPSET = 13
NEWEST_IR = 8
"""The newest file format that onnxruntime 1.10, the last for Python 3.6, reads."""

ALLOWED = frozenset(
    {
        "Add", "ArgMax", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "DequantizeLinear",
        "Div", "GatherElements", "GlobalAveragePool", "HardSigmoid", "Log", "MatMul", "MaxPool", "Mul",
        "QuantizeLinear", "ReduceMax", "Relu", "Reshape", "Resize", "Sigmoid", "Sqrt", "Sub",
        "Transpose",
    }
)  # fmt: skip
"""All of them are in TensorRT 8.0's matrix. Loop, If, Shape, Gather and the like are not needed, and not here."""

_INTEGER_INPUTS = {"Reshape": 1, "ReduceMax": 1}
"""Which input of an operator is a shape or axes: the only place for 64-bit integers."""

SAMPLINGS = (
    (b"linear", b"half_pixel", None),
    (b"linear", b"align_corners", None),
    (b"nearest", b"asymmetric", b"floor"),
)
"""What Resize may be: its mode, coordinates, and the rounding of the nearest pixel."""

Problems = Iterator[str]


def opset(model: onnx.ModelProto) -> Problems:
    """Opset 13 at most, of the standard operators only."""
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            yield f"operators of the domain {entry.domain!r} are not standard"
        elif entry.version > TENSORRT_8_OPSET:
            yield f"opset {entry.version} is newer than {TENSORRT_8_OPSET}"


def file_format(model: onnx.ModelProto) -> Problems:
    """A file format that onnxruntime 1.10 reads."""
    if model.ir_version > NEWEST_IR:
        yield f"IR version {model.ir_version} is newer than {NEWEST_IR}"


def operators(model: onnx.ModelProto) -> Problems:
    """Only operators of the list; nothing that computes shapes or decides control flow."""
    for node in model.graph.node:
        if node.op_type not in ALLOWED:
            yield f"{_name(node)}: operator {node.op_type} is not allowed"


def constant_resizes(model: onnx.ModelProto) -> Problems:
    """Resize by a constant whole factor, in one of `SAMPLINGS`, no sizes."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in _all(model, "Resize"):
        if len(node.input) > 3 and node.input[3]:
            yield f"{_name(node)}: Resize to a size, not by a factor"
            continue
        if len(node.input) < 3 or node.input[2] not in constants:
            yield f"{_name(node)}: Resize scales are not an initializer"
            continue
        scales = numpy_helper.to_array(constants[node.input[2]])
        if tuple(scales[:2]) != (1, 1) or any(scale != round(float(scale)) for scale in scales):
            yield f"{_name(node)}: Resize scales {scales.tolist()} are not whole factors of height and width"
        how = tuple(_attribute(node, name) for name in ("mode", "coordinate_transformation_mode", "nearest_mode"))
        if how not in SAMPLINGS:
            yield f"{_name(node)}: Resize is {how[0]!r}, {how[1]!r} instead of linear, half_pixel"


def constant_bounds(model: onnx.ModelProto) -> Problems:
    """Clip's bounds are initializers: TensorRT 8.0 needs that."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in _all(model, "Clip"):
        if len(node.input) != 3 or not set(node.input[1:]) <= constants:
            yield f"{_name(node)}: Clip bounds are not initializers"


def integers_only_in_shapes(model: onnx.ModelProto) -> Problems:
    """64-bit integers and floats nowhere but in shapes and axes; an ArgMax is cast at once."""
    shapes = {
        node.input[place]
        for node in model.graph.node
        if (place := _INTEGER_INPUTS.get(node.op_type)) is not None and len(node.input) > place
    }
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.DOUBLE or (
            tensor.data_type == TensorProto.INT64 and tensor.name not in shapes
        ):
            yield f"{tensor.name}: 64-bit values that are no shape"
    for node in _all(model, "ArgMax"):
        readers = [other for other in model.graph.node if node.output[0] in other.input]
        if not readers or any(reader.op_type != "Cast" for reader in readers):
            yield f"{_name(node)}: ArgMax's 64-bit result is not cast"
    for node in _all(model, "Cast"):
        if _attribute(node, "to") in (TensorProto.INT64, TensorProto.DOUBLE):
            yield f"{_name(node)}: Cast to a 64-bit type"


def known_types(model: onnx.ModelProto) -> Problems:
    """Floats in; floats or 32-bit integers out. TensorRT 8 has no unsigned bytes."""
    for value in model.graph.input:
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            yield f"{value.name}: the input is {_type(value)}, not float"
    for value in model.graph.output:
        if value.type.tensor_type.elem_type not in (TensorProto.FLOAT, TensorProto.INT32):
            yield f"{value.name}: the output is {_type(value)}, not float or int32"


def known_channels(model: onnx.ModelProto) -> Problems:
    """Batch and channels are fixed; only height and width may be open."""
    for value in (*model.graph.input, *model.graph.output):
        if not value.type.tensor_type.shape.dim[0].dim_value:
            yield f"{value.name}: the batch size is open"


def constant_weights(model: onnx.ModelProto) -> Problems:
    """Weights and biases of convolutions are initializers, as they are, quantised, or cast from fp16.

    TensorRT gets the last as they are: `fastnas.jetson.engine.weights`.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast") and node.input[0] in constants:
            constants.add(node.output[0])
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and not set(node.input[1:]) <= constants:
            yield f"{_name(node)}: {node.op_type} weights are not initializers"


RULES: tuple[Callable[[onnx.ModelProto], Problems], ...] = (
    opset,
    file_format,
    operators,
    constant_resizes,
    constant_bounds,
    integers_only_in_shapes,
    known_types,
    known_channels,
    constant_weights,
)


def lint(model: onnx.ModelProto, *, ignore: Collection[str] = ()) -> list[str]:
    """All problems, each with its rule's name; none means that TensorRT 8.0 parses the model.

    Args:
        model: what to check.
        ignore: names of rules that do not apply to this model.
    """
    rules = [rule for rule in RULES if rule.__name__ not in ignore]
    return [f"{problem} (rule {rule.__name__})" for rule in rules for problem in rule(model)]


def require_clean(model: onnx.ModelProto, *, ignore: Collection[str] = ()) -> None:
    """Check the rules, except those ignored.

    Raises:
        FastnasError: the model breaks a rule.
    """
    if problems := lint(model, ignore=ignore):
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise FastnasError(f"the ONNX graph would not run on every device: {problems[0]}{more}")


def _all(model: onnx.ModelProto, kind: str) -> Iterator[NodeProto]:
    return (node for node in model.graph.node if node.op_type == kind)


def _name(node: NodeProto) -> str:
    return node.name or node.output[0]


def _attribute(node: NodeProto, name: str) -> Any:
    found = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return found[0] if found else None


def _type(value: onnx.ValueInfoProto) -> str:
    return TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
