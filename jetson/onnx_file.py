"""ONNX files as their bytes show them, without the package onnx, which no board has.

An ONNX file may leave weights in other files, whose paths it names: an engine would read whatever lies there. An
artifact's files hold all of their weights; one that names another file is refused before an engine opens it.
"""

import mmap
from typing import Tuple, Union

from fastnas.jetson.errors import JetsonError

Data = Union[bytes, mmap.mmap]

MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, FUNCTION, TRAINING = range(8)
"""Messages that hold tensors, at whatever depth."""

INNER = {
    MODEL: {7: GRAPH, 20: TRAINING, 25: FUNCTION},
    GRAPH: {1: NODE, 5: TENSOR, 15: SPARSE},
    NODE: {5: ATTRIBUTE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    TENSOR: {},
    SPARSE: {1: TENSOR, 2: TENSOR},
    FUNCTION: {7: NODE, 11: ATTRIBUTE},
    TRAINING: {1: GRAPH, 2: GRAPH},
}
"""Message -> number of a field -> the message in it, after onnx.proto."""

EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of a tensor: where its values are in another file, and whether they are."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Types of fields in the wire format of protobuf."""

FIELDS = 1000000
"""As many are read; an export of ours has some ten thousand."""


def require_own_weights(path: str) -> None:
    """Refuse an ONNX file with weights in another file.

    Raises:
        JetsonError: it has some, cannot be read, or is no ONNX file.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            external = has_external_data(data)
    except OSError as error:
        raise JetsonError("cannot read {}: {}".format(path, error.strerror or error)) from error
    except ValueError as error:  # also of an empty file
        raise JetsonError("{} is not an ONNX file: {}".format(path, error)) from error
    if external:
        raise JetsonError(
            "{} leaves weights in another file, which no artifact may; export the network again".format(path)
        )


def has_external_data(data: Data) -> bool:
    """Whether any tensor of an ONNX model refers to another file; even one that says so and names none.

    Raises:
        ValueError: the bytes are no protobuf, or have too many fields.
    """
    messages, fields = [(MODEL, 0, len(data))], 0
    while messages:
        kind, position, end = messages.pop()
        while position < end:
            fields += 1
            if fields > FIELDS:
                raise ValueError("it has more than {} fields".format(FIELDS))
            tag, position = _varint(data, position, end)
            number, wire = tag >> 3, tag & 7
            start, value = position, 0
            if wire == VARINT:
                value, position = _varint(data, position, end)
            elif wire == BYTES:
                value, start = _varint(data, position, end)
                position = start + value
            elif wire in (FIXED64, FIXED32):
                position += 8 if wire == FIXED64 else 4
            else:
                raise ValueError("it has a field of the unknown type {}".format(wire))
            if not 0 < number < 1 << 29 or position > end:
                raise ValueError("it is damaged at byte {}".format(start))
            if kind == TENSOR and (number == EXTERNAL_DATA or (number == DATA_LOCATION and (value or wire != VARINT))):
                return True
            if wire == BYTES and number in INNER[kind]:
                messages.append((INNER[kind][number], start, position))
    return False


def _varint(data: Data, position: int, end: int) -> Tuple[int, int]:
    """A number of 1 to 10 bytes, and the position behind it."""
    value = 0
    for index in range(10):
        if position + index >= end:
            break
        byte = data[position + index]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise ValueError("it is damaged at byte {}".format(position))
