"""Compact float32 files: weights are stored as fp16 and cast to float32 by an operator that a runtime computes once.

What is computed is float32 on rounded weights. `fastnas.jetson.engine.weights` reads such files for TensorRT.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastnas.deploy.parity import Parity
from fastnas.deploy.precision.base import ReducedPrecision

SMALLEST = 64
"""Weights of fewer values stay float32: their casts would cost more bytes than they save."""


class Compact(ReducedPrecision):
    """The float32 file with compact weights."""

    path, precision = "model.onnx", "fp32"
    tolerance = 1e-2  # as fp16; rounding the weights alone makes about 1e-3
    ceiling = 5e-2
    agreement = 0.99

    def make(self, keep: frozenset[str]) -> onnx.ModelProto:
        """The model with the weights of all operators but these stored as fp16."""
        kept = {name for node in self.model.graph.node if node.name in keep for name in node.input}
        return compact(self.model, kept)

    def error(self, parity: Parity) -> float:
        """The largest error."""
        return parity.largest


def compact(model: onnx.ModelProto, keep: set[str] | frozenset[str] = frozenset()) -> onnx.ModelProto:
    """The model with float32 weights stored as fp16, each under the name `NAME/stored`, and cast to `NAME`.

    Args:
        model: in float32, as `onnx.writer` makes it.
        keep: names of weights that stay as they are, besides those that are small or beyond fp16's range.
    """
    casts, weights = [], []
    for tensor in model.graph.initializer:
        stored = None if tensor.name in keep else _as_half(tensor)
        weights.append(tensor if stored is None else stored)
        if stored is not None:
            name = tensor.name
            casts.append(helper.make_node("Cast", [stored.name], [name], name=f"{name}/cast", to=TensorProto.FLOAT))
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = [*casts, *model.graph.node]
    result.graph.ClearField("node")
    result.graph.ClearField("initializer")
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(weights)
    onnx.checker.check_model(result)
    return result


def _as_half(tensor: onnx.TensorProto) -> onnx.TensorProto | None:
    """A weight as fp16; None if it stays as it is."""
    if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
        return None
    with np.errstate(over="ignore"):
        half = numpy_helper.to_array(tensor).astype(np.float16)
    return numpy_helper.from_array(half, f"{tensor.name}/stored") if np.isfinite(half).all() else None
