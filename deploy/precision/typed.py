"""INT8 for TensorRT 11: the Q/DQ graph for TensorRT with fp16 values between its quantisers.

TensorRT up to 10 is told by a flag that what is not quantised may be fp16. TensorRT 11 takes the types of the graph: of
the other INT8 file it would run all that in fp32. Quantisers of fp16 values are in ONNX from opset 19 on, which is too
new for TensorRT 8, so this is a file of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fastnas.deploy.parity import Reference
from fastnas.deploy.precision.fp16 import rounded, to_fp16
from fastnas.deploy.precision.int8 import TENSORRT, Int8

OPSET, IR_VERSION = 19, 9
"""The first with quantisers of fp16 values, and the file format that came with it."""

BREAKS = frozenset({"opset", "file_format"})
"""The rules of `fastnas.deploy.onnx.compat` that such a file breaks on purpose: they are for TensorRT 8."""


class TypedInt8(Int8):
    """The INT8 file whose other values are fp16. Its parity is that of exact fp16 arithmetic, see `fp16.rounded`."""

    def __init__(self, model: onnx.ModelProto, reference: Reference, ranges: Any) -> None:
        super().__init__(model, reference, ranges, TENSORRT)
        self.path, self.targets = "model.int8.fp16.onnx", ("tensorrt-typed",)

    def make(self, keep: frozenset[str]) -> onnx.ModelProto:
        """The typed Q/DQ model."""
        return to_opset_19(to_fp16(super().make(keep)))

    def simulated(self, made: onnx.ModelProto) -> onnx.ModelProto:
        """The model with every fp16 value rounded as fp16 rounds it."""
        return rounded(made)


def to_opset_19(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of opset 13, as `onnx.writer` makes it, in opset 19: axes of a maximum become an input."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.opset_import[:]
    result.opset_import.append(helper.make_opsetid("", OPSET))
    result.ir_version = IR_VERSION
    for node in result.graph.node:
        if node.op_type != "ReduceMax":
            continue
        axes = next(attribute for attribute in node.attribute if attribute.name == "axes")
        name = "axes/" + "x".join(map(str, axes.ints))
        if name not in {tensor.name for tensor in result.graph.initializer}:
            result.graph.initializer.append(numpy_helper.from_array(np.array(axes.ints, np.int64), name))
        node.input.append(name)
        node.attribute.remove(axes)
    onnx.checker.check_model(result)
    return result
