"""ONNX files as protocol buffers (onnx.proto3), read and written directly: boards have no `onnx` package."""

from typing import Callable, Iterator, List, NamedTuple, Tuple

# Numbers of the fields that are read.
GRAPH = 7
NODE, INITIALIZER = 1, 5
NODE_INPUT, NODE_OUTPUT, NODE_KIND, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_INTS = 1, 8
TENSOR_DIMENSION, TENSOR_TYPE, TENSOR_NAME, TENSOR_DATA = 1, 2, 8, 9
FLOAT, FLOAT16 = 1, 10

VARINT, EIGHT, TEXT, FOUR = 0, 1, 2, 5


class Field(NamedTuple):
    """A field of a message: its number, its kind on the wire, its value (of text and messages), and all its bytes."""

    number: int
    wire: int
    value: bytes
    raw: bytes


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in their order.

    Raises:
        IndexError, ValueError: it is none.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = varint(data, at)
        wire = tag & 7
        begin = at
        if wire == VARINT:
            _, at = varint(data, at)
        elif wire == TEXT:
            length, begin = varint(data, at)
            at = begin + length
        elif wire in (EIGHT, FOUR):
            at += 8 if wire == EIGHT else 4
        else:
            raise ValueError("no field has the kind {}".format(wire))
        if at > len(data):
            raise ValueError("the field ends after the message")
        yield Field(tag >> 3, wire, data[begin:at], data[start:at])


def change_graph(model: bytes, change: Callable[[Field], bytes]) -> bytes:
    """An ONNX file with what `change` makes of its graph in the graph's place; the rest as it is.

    Raises:
        IndexError, ValueError: it is no ONNX file.
    """
    return b"".join(change(field) if field.number == GRAPH else field.raw for field in fields(model))


def varint(data: bytes, at: int) -> Tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


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
            value, at = varint(part.value, at)
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
    return varint(value, 0)[0] if value else 0
