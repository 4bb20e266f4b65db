"""ONNX files as protocol buffers (onnx.proto3), read and written directly: boards have no `onnx` package."""

import mmap
from typing import Callable, Iterator, List, NamedTuple, Tuple, Union

Data = Union[bytes, mmap.mmap]

# Numbers of the fields that are read.
GRAPH = 7
NODE, INITIALIZER = 1, 5
NODE_INPUT, NODE_OUTPUT, NODE_KIND, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_INTS = 1, 8
TENSOR_DIMENSION, TENSOR_TYPE, TENSOR_NAME, TENSOR_DATA = 1, 2, 8, 9
FLOAT, FLOAT16 = 1, 10

VARINT, EIGHT, TEXT, FOUR = 0, 1, 2, 5


class Span(NamedTuple):
    """Where a field of a message is: its number, its kind on the wire, its start, the start of its value, its end."""

    number: int
    wire: int
    start: int
    begin: int
    end: int


class Field(NamedTuple):
    """A field of a message: its number, its kind on the wire, its value (of text and messages), and all its bytes."""

    number: int
    wire: int
    value: bytes
    raw: bytes


def spans(data: Data, at: int, end: int) -> Iterator[Span]:
    """The fields of the message between two positions, in their order; nothing is copied.

    Raises:
        ValueError: it is none.
    """
    while at < end:
        start = at
        tag, at = varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        begin = at
        if wire == VARINT:
            _, at = varint(data, at, end)
        elif wire == TEXT:
            length, begin = varint(data, at, end)
            at = begin + length
        elif wire in (EIGHT, FOUR):
            at += 8 if wire == EIGHT else 4
        else:
            raise ValueError("it has a field of the unknown type {}".format(wire))
        if not 0 < number < 1 << 29 or at > end:
            raise ValueError("it is damaged at byte {}".format(begin))
        yield Span(number, wire, start, begin, at)


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in their order.

    Raises:
        ValueError: it is none.
    """
    for span in spans(data, 0, len(data)):
        yield Field(span.number, span.wire, data[span.begin : span.end], data[span.start : span.end])


def change_graph(model: bytes, change: Callable[[Field], bytes]) -> bytes:
    """An ONNX file with what `change` makes of its graph in the graph's place; the rest as it is.

    Raises:
        ValueError: it is no ONNX file.
    """
    return b"".join(change(field) if field.number == GRAPH else field.raw for field in fields(model))


def varint(data: Data, at: int, end: int) -> Tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, in at most ten bytes before `end`; and where it ends.

    Raises:
        ValueError: there is none.
    """
    value = 0
    for place in range(at, min(at + 10, end)):
        byte = data[place]
        value |= (byte & 127) << 7 * (place - at)
        if byte < 128:
            return value, place + 1
    raise ValueError("it is damaged at byte {}".format(at))


def message(field: int, value: bytes) -> bytes:
    """A field of bytes, or of a message."""
    return _encode(field << 3 | TEXT) + _encode(len(value)) + value


def number(field: int, value: int) -> bytes:
    """A field of an integer that is not negative."""
    return _encode(field << 3 | VARINT) + _encode(value)


def numbers(parts: List[Field], field: int) -> List[int]:
    """The integers of a field that is repeated, one by one or all in one."""
    found = []
    for part in parts:
        at = 0
        while part.number == field and at < len(part.value):
            value, at = varint(part.value, at, len(part.value))
            found.append(value)
    return found


def _encode(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def text(parts: List[Field], field: int) -> bytes:
    """The first field of a number, which is text or bytes; nothing where there is none."""
    return next((part.value for part in parts if part.number == field), b"")


def element_type(tensor: List[Field]) -> int:
    """The number of a tensor's element type."""
    value = text(tensor, TENSOR_TYPE)
    return varint(value, 0, len(value))[0] if value else 0
