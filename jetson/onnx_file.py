"""ONNX files as their bytes show them, without the package onnx, which no board has.

An ONNX file may leave weights in other files, whose paths it names: an engine would read whatever lies there. An
artifact's files hold all of their weights; one that names another file is refused before an engine opens it.
"""

import mmap

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.protobuf import TEXT, VARINT, Data, spans, varint

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
        kind, start, stop = messages.pop()
        for number, wire, _, begin, end in spans(data, start, stop):
            fields += 1
            if fields > FIELDS:
                raise ValueError("it has more than {} fields".format(FIELDS))
            if kind == TENSOR and number == EXTERNAL_DATA:
                return True
            if kind == TENSOR and number == DATA_LOCATION and (wire != VARINT or varint(data, begin, end)[0]):
                return True
            if wire == TEXT and number in INNER[kind]:
                messages.append((INNER[kind][number], begin, end))
    return False
