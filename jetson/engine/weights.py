"""The graph that TensorRT gets: its weights plain, and what depends on the image's size alone constant.

Compact ONNX files store weights as fp16, half as large, and a `Cast` makes float32 of each. ONNX Runtime computes these
casts once, when it loads the file; old releases of TensorRT take no weights that an operator makes.
"""

from typing import Dict, List

import numpy as np

from fastnas.jetson.checks import GRAPH_BYTES, read_file
from fastnas.jetson.engine.sizes import fix_sizes
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.files import atomic_path, cache_root
from fastnas.jetson.protobuf import (
    FLOAT,
    FLOAT16,
    GRAPH,
    INITIALIZER,
    NODE,
    NODE_INPUT,
    NODE_KIND,
    NODE_OUTPUT,
    TENSOR_DATA,
    TENSOR_NAME,
    TENSOR_TYPE,
    Field,
    change_graph,
    element_type,
    fields,
    message,
    number,
    text,
)
from fastnas.jetson.sidecar import Size


def plain_graph(path: str, sha256: str, size: Size) -> str:
    """The path of a file for images of one size: `path` itself, or what is made of it here, kept in the cache.

    Args:
        path: of an ONNX file.
        sha256: of that file.
        size: (H, W).

    Raises:
        JetsonError: the file is damaged.
    """
    data = read_file(path, int(GRAPH_BYTES[1]))
    try:
        plain = fix_sizes(expand(data, path), size)
    except ValueError as error:
        raise JetsonError("{} is no ONNX file, or is damaged".format(path)) from error
    if plain == data:
        return path
    target = cache_root() / "graphs" / "{}-{}x{}.onnx".format(sha256[:16], *size)
    with atomic_path(target) as temporary:
        temporary.write_bytes(plain)
    return str(target)


def expand(model: bytes, where: str = "the ONNX file") -> bytes:
    """An ONNX file with each fp16 weight that a `Cast` makes float32 of as a float32 weight; others as they are.

    Raises:
        JetsonError: the file is damaged; `where` names it.
    """
    try:
        return change_graph(model, _expand_graph)
    except ValueError as error:
        raise JetsonError("{} is no ONNX file, or is damaged".format(where)) from error


def _expand_graph(graph: Field) -> bytes:
    parts = list(fields(graph.value))
    weights = [list(fields(field.value)) for field in parts if field.number == INITIALIZER]
    stored = {text(weight, TENSOR_NAME) for weight in weights if element_type(weight) == FLOAT16}
    names: Dict[bytes, bytes] = {}
    kept: List[bytes] = []
    for field in parts:
        if field.number == NODE:
            node = list(fields(field.value))
            if text(node, NODE_KIND) == b"Cast" and text(node, NODE_INPUT) in stored:
                names[text(node, NODE_INPUT)] = text(node, NODE_OUTPUT)
                continue
        if field.number != INITIALIZER:
            kept.append(field.raw)
    if not names:
        return graph.raw
    kept += [message(INITIALIZER, _expand_weight(weight, names)) for weight in weights]
    return message(GRAPH, b"".join(kept))


def _expand_weight(weight: List[Field], names: Dict[bytes, bytes]) -> bytes:
    """A tensor; as float32 and under its new name if it has one."""
    name = text(weight, TENSOR_NAME)
    if name not in names:
        return b"".join(field.raw for field in weight)
    half = np.frombuffer(text(weight, TENSOR_DATA), "<f2")
    changed = {
        TENSOR_TYPE: number(TENSOR_TYPE, FLOAT),
        TENSOR_NAME: message(TENSOR_NAME, names[name]),
        TENSOR_DATA: message(TENSOR_DATA, half.astype("<f4").tobytes()),
    }
    return b"".join(changed.get(field.number, field.raw) for field in weight)
