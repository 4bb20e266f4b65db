"""The nodes and initializers of an ONNX model that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Nodes:
    """A list of nodes, each after those it reads.

    Attributes:
        nodes: the operators.
        constants: the initializers by name.
        written: names of the operators' outputs.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.written: set[str] = set()

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """An initializer, once."""
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def emit(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """An ONNX node, named after what it computes."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        self.written.add(output)
        return output

    def reduce_max(self, x: str, axes: Sequence[int], out: str) -> str:
        """Maximum over axes, which keep size 1."""
        return self.emit("ReduceMax", [x], out, axes=list(axes), keepdims=1)
