"""Masks of the image's size become constants, in a graph for images of one size.

One file takes images of every size. So operators named `size/...` make, from the image, ones [1, 1, h, w] of the size
of a feature map, and where the taps of a convolution fall inside it, [1, 1, h, taps] and [1, 1, taps, w]
(`fastnas.deploy.onnx.writer`). TensorRT would launch a kernel for each of them, pass after pass.
"""

import re
from typing import Dict, List, NamedTuple, Optional

import numpy as np

from fastnas.jetson.protobuf import (
    ATTRIBUTE_INTS,
    ATTRIBUTE_NAME,
    FLOAT,
    FLOAT16,
    GRAPH,
    INITIALIZER,
    NODE,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_OUTPUT,
    TENSOR_DATA,
    TENSOR_DIMENSION,
    TENSOR_NAME,
    TENSOR_TYPE,
    Field,
    change_graph,
    element_type,
    fields,
    message,
    number,
    numbers,
    text,
)
from fastnas.jetson.sidecar import Size

PREFIX = b"size/"
MASK = re.compile(
    rb"size/(?P<stride>\d+)(?:/axis(?P<axis>[23])/taps(?P<taps>\d+)x(?P<dilation>\d+))?(?P<cast>/fp16|/fp32)?\Z"
)
TYPES = {FLOAT: "<f4", FLOAT16: "<f2"}


class Node(NamedTuple):
    """An operator: its inputs, its output, and the parts of its message."""

    inputs: List[bytes]
    output: bytes
    parts: List[Field]


def fix_sizes(model: bytes, size: Size) -> bytes:
    """An ONNX file for images of one size (H, W) alone, if it has masks that we know; else it as it is.

    Raises:
        ValueError: it is no ONNX file.
    """
    return change_graph(model, lambda graph: _fix_graph(graph, size))


def _fix_graph(graph: Field, size: Size) -> bytes:
    parts = list(fields(graph.value))
    nodes = [_read(field.value) for field in parts if field.number == NODE]
    makers = {node.output: node for node in nodes if node.output.startswith(PREFIX)}
    read = {name for node in nodes if node.output not in makers for name in node.inputs}
    weights = {}
    for field in parts:
        if field.number == INITIALIZER:
            tensor = list(fields(field.value))
            weights[text(tensor, TENSOR_NAME)] = element_type(tensor)
    masks = {name: _mask(name, makers, weights, size) for name in sorted(read & set(makers))}
    if not masks or None in masks.values():
        return graph.raw
    kept, others = [], iter(nodes)
    for field in parts:
        if field.number == NODE and next(others).output in makers:
            continue
        if field.number == INITIALIZER and text(list(fields(field.value)), TENSOR_NAME) not in read:
            continue  # only masks were made of it
        kept.append(field.raw)
    kept += [message(INITIALIZER, mask) for mask in masks.values() if mask is not None]
    return message(GRAPH, b"".join(kept))


def _read(data: bytes) -> Node:
    parts = list(fields(data))
    inputs = [part.value for part in parts if part.number == NODE_INPUT]
    return Node(inputs, text(parts, NODE_OUTPUT), parts)


def _mask(name: bytes, makers: Dict[bytes, Node], weights: Dict[bytes, int], size: Size) -> Optional[bytes]:
    """The tensor of a mask; None where it is none of those that an export makes."""
    match = MASK.match(name)
    if match is None:
        return None
    plain = name[: len(name) - len(match.group("cast") or b"")]
    height, width = (side // int(match.group("stride")) for side in size)
    if match.group("axis") is None:
        source, values = makers.get(plain), np.ones((1, 1, height, width))
    else:
        source = makers.get(plain + b"/planes")
        down = match.group("axis") == b"2"
        pads = _pads(source) if source is not None else []
        if len(pads) != 4:
            return None
        values = inside(
            height if down else width, int(match.group("taps")), int(match.group("dilation")), pads[0 if down else 1]
        )
        values = (values if down else values.T)[None, None]
    # The type is that of the constant that the operator has: the bounds of a clip, the weights of a convolution.
    kind = next((weights[each] for each in source.inputs if each in weights), 0) if source is not None else 0
    kind = {b"/fp16": FLOAT16, b"/fp32": FLOAT}.get(match.group("cast") or b"", kind)
    return _tensor(name, values, kind) if kind in TYPES else None


def inside(length: int, taps: int, dilation: int, padding: int) -> np.ndarray:
    """Whether each tap of a convolution falls inside, [positions, taps] of 1 and 0.

    Args:
        length: of the axis.
        taps: of the convolution along it.
        dilation: of the convolution.
        padding: before and after.
    """
    positions = length + 2 * padding - dilation * (taps - 1)
    places = np.arange(positions)[:, None] - padding + dilation * np.arange(taps)
    return ((places >= 0) & (places < length)).astype(np.float64)


def _pads(node: Node) -> List[int]:
    for part in node.parts:
        if part.number == NODE_ATTRIBUTE:
            attribute = list(fields(part.value))
            if text(attribute, ATTRIBUTE_NAME) == b"pads":
                return numbers(attribute, ATTRIBUTE_INTS)
    return []


def _tensor(name: bytes, values: np.ndarray, kind: int) -> bytes:
    shape = b"".join(number(TENSOR_DIMENSION, side) for side in values.shape)
    data = values.astype(TYPES[kind]).tobytes()
    return shape + number(TENSOR_TYPE, kind) + message(TENSOR_NAME, name) + message(TENSOR_DATA, data)
