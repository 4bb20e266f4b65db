"""Compact ONNX files: weights are stored as fp16, half as large, and a `Cast` makes float32 of each.

ONNX Runtime computes these casts once, when it loads the file. TensorRT gets a plain file with float32 weights, since
old releases take no weights that an operator makes: `plain_graph` writes it into the cache. A file is read as protocol
buffers (onnx.proto3) directly: boards have no `onnx` package.
"""

from typing import Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

from fastnas.jetson.checks import GRAPH_BYTES, read_file
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.files import atomic_path, cache_root

# Numbers of the fields that are read.
GRAPH = 7
NODE, INITIALIZER = 1, 5
NODE_INPUT, NODE_OUTPUT, NODE_KIND = 1, 2, 4
TENSOR_TYPE, TENSOR_NAME, TENSOR_DATA = 2, 8, 9
FLOAT, FLOAT16 = 1, 10

VARINT, EIGHT, TEXT, FOUR = 0, 1, 2, 5


class Field(NamedTuple):
    """A field of a message: its number, its kind on the wire, its value (of text and messages), and all its bytes."""

    number: int
    wire: int
    value: bytes
    raw: bytes


def plain_graph(path: str, sha256: str) -> str:
    """The path of a file with float32 weights: `path` itself, or what `expand` makes of it, kept in the cache.

    Args:
        path: of an ONNX file.
        sha256: of that file.
    """
    data = read_file(path, int(GRAPH_BYTES[1]))
    expanded = expand(data, path)
    if expanded == data:
        return path
    target = cache_root() / "graphs" / (sha256[:16] + ".onnx")
    with atomic_path(target) as temporary:
        temporary.write_bytes(expanded)
    return str(target)


def expand(model: bytes, where: str = "the ONNX file") -> bytes:
    """An ONNX file with each fp16 weight that a `Cast` makes float32 of as a float32 weight; others as they are.

    Raises:
        JetsonError: the file is damaged; `where` names it.
    """
    try:
        return b"".join(_expand_graph(field) if field.number == GRAPH else field.raw for field in _fields(model))
    except (IndexError, ValueError) as error:
        raise JetsonError("{} is no ONNX file, or is damaged".format(where)) from error


def _expand_graph(graph: Field) -> bytes:
    fields = list(_fields(graph.value))
    weights = [list(_fields(field.value)) for field in fields if field.number == INITIALIZER]
    stored = {_text(weight, TENSOR_NAME) for weight in weights if _type(weight) == FLOAT16}
    names: Dict[bytes, bytes] = {}
    kept: List[bytes] = []
    for field in fields:
        if field.number == NODE:
            node = list(_fields(field.value))
            if _text(node, NODE_KIND) == b"Cast" and _text(node, NODE_INPUT) in stored:
                names[_text(node, NODE_INPUT)] = _text(node, NODE_OUTPUT)
                continue
        if field.number != INITIALIZER:
            kept.append(field.raw)
    if not names:
        return graph.raw
    kept += [_message(INITIALIZER, _expand_weight(weight, names)) for weight in weights]
    return _message(GRAPH, b"".join(kept))


def _expand_weight(weight: List[Field], names: Dict[bytes, bytes]) -> bytes:
    """A tensor; as float32 and under its new name if it has one."""
    name = _text(weight, TENSOR_NAME)
    if name not in names:
        return b"".join(field.raw for field in weight)
    half = np.frombuffer(_text(weight, TENSOR_DATA), "<f2")
    changed = {
        TENSOR_TYPE: bytes([TENSOR_TYPE << 3 | VARINT, FLOAT]),
        TENSOR_NAME: _message(TENSOR_NAME, names[name]),
        TENSOR_DATA: _message(TENSOR_DATA, half.astype("<f4").tobytes()),
    }
    return b"".join(changed.get(field.number, field.raw) for field in weight)


def _fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in their order.

    Raises:
        IndexError, ValueError: it is none.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        wire = tag & 7
        begin = at
        if wire == VARINT:
            _, at = _varint(data, at)
        elif wire == TEXT:
            length, begin = _varint(data, at)
            at = begin + length
        elif wire in (EIGHT, FOUR):
            at += 8 if wire == EIGHT else 4
        else:
            raise ValueError("no field has the kind {}".format(wire))
        if at > len(data):
            raise ValueError("the field ends after the message")
        yield Field(tag >> 3, wire, data[begin:at], data[start:at])


def _varint(data: bytes, at: int) -> Tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _message(number: int, value: bytes) -> bytes:
    """A field of bytes."""
    head = bytearray()
    for integer in (number << 3 | TEXT, len(value)):
        while integer > 127:
            head.append(integer & 127 | 128)
            integer >>= 7
        head.append(integer)
    return bytes(head) + value


def _text(message: List[Field], number: int) -> bytes:
    """The first field of a number, which is text or bytes; nothing where there is none."""
    return next((field.value for field in message if field.number == number), b"")


def _type(weight: List[Field]) -> int:
    value = _text(weight, TENSOR_TYPE)
    return _varint(value, 0)[0] if value else 0
