"""A `Graph` becomes an ONNX model that ONNX Runtime 1.10 runs and TensorRT 8.0 parses.

Height and width stay open: sizes follow from constant scales, so no operator computes a shape. A runtime may fix
them (ONNX Runtime: free dimensions `height` and `width`; TensorRT: the shape of the input).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastnas.deploy.graph import ir
from fastnas.deploy.graph.ir import Graph, Node
from fastnas.deploy.onnx.nodes import Nodes
from fastnas.deploy.onnx.peaks import write_peaks

OPSET, IR_VERSION = 13, 7
"""The newest opset that TensorRT 8.0 and 8.2 (JetPack 4) parse, and a file format that ONNX Runtime 1.10 reads; newer
runtimes read both."""

INPUT = "image"


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """The ONNX model of a graph: input `image`, the graph's outputs by their names, batch 1."""
    writer = Writer(graph)
    for name, node in graph.nodes.items():
        first = len(writer.nodes)
        writer.write(name, node)
        writer.keep_module_name(name, first)
    return writer.model()


class Writer(Nodes):
    """Writes the values of a graph one by one, each after those it reads."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.outputs = {value: output for output, value in graph.outputs.items()}
        self.ones: dict[int, str] = {}
        floats = [name for name, node in graph.nodes.items() if isinstance(node.op, ir.Bytes)]
        self.bytes = bool(floats)
        self.pixels = floats[0] if floats else INPUT

    def write(self, name: str, node: Node) -> None:
        """Write the operators that compute one value."""
        x = [self.value(source) for source in node.inputs]
        out = self.value(name)
        match node.op:
            case ir.Input():
                pass
            case ir.Constant(value):
                self.constants[out] = numpy_helper.from_array(value.reshape(1, -1, 1, 1), out)
            case ir.Conv():
                self.convolution("Conv", node.op, name, x, out)
            case ir.Deconv():
                self.convolution("ConvTranspose", node.op, name, x, out, output_padding=list(node.op.output_padding))
            case ir.SpreadConv():
                self.spread_convolution(node.op, name, x[0], out)
            case ir.Affine(scale, shift):
                scaled = x[0]
                if np.any(scale != 1):
                    scaled = out if not np.any(shift) else f"{out}/scaled"
                    self.emit("Mul", [x[0], self.constant(f"{out}/scale", scale.reshape(1, -1, 1, 1))], scaled)
                if scaled != out:
                    self.emit("Add", [scaled, self.constant(f"{out}/shift", shift.reshape(1, -1, 1, 1))], out)
            case ir.Activation():
                self.activation(node.op, x[0], out)
            case ir.Add():
                total = x[0]
                for number, term in enumerate(x[1:], start=2):
                    partial = out if number == len(x) else f"{out}/sum{number}"
                    self.emit("Add", [total, term], partial)
                    total = partial
            case ir.Mul():
                self.emit("Mul", x, out)
            case ir.Concat():
                self.emit("Concat", x, out, axis=1)
            case ir.Resize(factor, sampling):
                self.resize(x[0], [1, 1, factor, factor], out, sampling)
            case ir.GlobalPool():
                self.emit("GlobalAveragePool", x, out)
            case ir.Pool():
                self.pool(node.op, x, out)
            case ir.Spread(stride):
                self.emit("Mul", [x[0], self.plane(stride)], out)
            case ir.Peaks(step):
                write_peaks(self, x[0], self.graph.shapes[node.inputs[0]].channels, step, out)
            case ir.Bytes():
                self.emit("Transpose", x, f"{out}/planes", perm=[0, 3, 1, 2])
                self.emit("Cast", [f"{out}/planes"], out, to=TensorProto.FLOAT)
            case ir.ArgMax(factor):
                axis = 1
                if factor > 1:
                    last = self.emit("Transpose", x, f"{out}/last", perm=[0, 2, 3, 1])
                    x, axis = [self.resize(last, [1, factor, factor, 1], f"{out}/large")], 3
                self.emit("ArgMax", x, f"{out}/index", axis=axis, keepdims=0)
                self.emit("Cast", [f"{out}/index"], out, to=TensorProto.INT32)

    def keep_module_name(self, name: str, first: int) -> None:
        """Name the operators from number `first` on, which compute an output, after the module as all others are.

        Profilers report times by these names (`fastnas.jetson.bench.layers`).
        """
        if name in self.outputs:
            out = self.outputs[name]
            for node in self.nodes[first:]:
                if node.name == out or node.name.startswith(f"{out}/"):
                    node.name = name + node.name[len(out) :]

    def value(self, name: str) -> str:
        """The ONNX name of a value."""
        if isinstance(self.graph.nodes[name].op, ir.Input):
            return INPUT
        return self.outputs.get(name, name)

    def resize(self, x: str, scales: list[int], out: str, sampling: ir.Sampling = "half_pixel") -> str:
        """Interpolation by whole factors of the dimensions."""
        factors = self.constant("scales/" + "x".join(map(str, scales)), np.array(scales, np.float32))
        how = {"mode": "linear", "coordinate_transformation_mode": sampling}
        if sampling == "nearest":
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.emit("Resize", [x, "", factors], out, **how)

    def convolution(self, kind: str, op: ir.Conv | ir.Deconv, name: str, x: list[str], out: str, **extra: Any) -> None:
        """Convolution or its transpose."""
        weights = [self.constant(f"{name}/weight", op.weight)]
        if np.any(op.bias):
            weights.append(self.constant(f"{name}/bias", op.bias))
        dilation = op.dilation if isinstance(op, ir.Conv) else (1, 1)
        self.emit(
            kind,
            [*x, *weights],
            out,
            kernel_shape=list(op.weight.shape[2:]),
            strides=[op.stride] * 2,
            pads=[*op.padding, *op.padding],
            dilations=list(dilation),
            group=op.groups,
            **extra,
        )

    def activation(self, op: ir.Activation, x: str, out: str) -> None:
        """Activations that the opset lacks are composed of those it has."""
        match op.kind:
            case "relu":
                self.emit("Relu", [x], out)
            case "relu6":
                bounds = [self.constant(f"clip/{bound}", np.array(bound, np.float32)) for bound in (0, 6)]
                self.emit("Clip", [x, *bounds], out)
            case "sigmoid":
                self.emit("Sigmoid", [x], out)
            case "hardsigmoid":
                self.emit("HardSigmoid", [x], out, alpha=1 / 6, beta=0.5)
            case "hardswish":
                gate = self.emit("HardSigmoid", [x], f"{out}/gate", alpha=1 / 6, beta=0.5)
                self.emit("Mul", [x, gate], out)
            case "silu":
                self.emit("Mul", [x, self.emit("Sigmoid", [x], f"{out}/gate")], out)
            case "rsqrt":
                one = self.constant("one", np.array(1, np.float32))
                self.emit("Div", [one, self.emit("Sqrt", [x], f"{out}/root")], out)

    def pool(self, op: ir.Pool, x: list[str], out: str) -> None:
        """Maximum or average pooling."""
        window = {
            "kernel_shape": [op.kernel] * 2,
            "strides": [op.stride] * 2,
            "pads": [op.padding] * 4,
            "ceil_mode": int(op.ceil),
        }
        if op.kind == "max":
            self.emit("MaxPool", x, out, **window)
        else:
            self.emit("AveragePool", x, out, count_include_pad=int(op.count_padding), **window)

    def plane(self, stride: int) -> str:
        """Ones [1, 1, h, w] of the size of a stride: every n-th pixel of the image, of which a clip leaves the size."""
        if stride not in self.ones:
            x = self.pixels
            if stride > 1:
                x = self.emit("MaxPool", [x], f"size/{stride}/pixels", kernel_shape=[1, 1], strides=[stride, stride])
            widest = self.reduce_max(x, [1], f"size/{stride}/max")
            one = self.constant("clip/1", np.array(1, np.float32))
            self.ones[stride] = self.emit("Clip", [widest, one, one], f"size/{stride}")
        return self.ones[stride]

    def spread_convolution(self, op: ir.SpreadConv, name: str, pixel: str, out: str) -> None:
        """A convolution of a constant image: what each tap contributes, times where that tap falls inside the image.

        y[c, h, w] = sum over taps (i, j) of (W[c, :, i, j] · x) R[h, i] C[j, w], with R[h, i] = 1 where row h's tap i
        is inside and 0 where it meets the padding, C likewise: two small matrix products for each channel, R (T C).
        """
        outputs, inputs, rows, columns = op.weight.shape
        # Every tap as outputs of a 1x1 convolution on the pixel, channel-major: [O * rows * columns, I, 1, 1].
        taps = op.weight.transpose(0, 2, 3, 1).reshape(outputs * rows * columns, inputs, 1, 1)
        weight = self.constant(f"{name}/weight", taps)
        products = self.emit("Conv", [pixel, weight], f"{out}/taps", kernel_shape=[1, 1], group=op.groups)
        shape = self.constant(f"{name}/shape", np.array([1, outputs, rows, columns], np.int64))
        matrix = self.emit("Reshape", [products, shape], f"{out}/matrix")
        right = self.inside(op, columns, axis=3)
        partial = self.emit("MatMul", [matrix, right], f"{out}/columns")
        left = self.inside(op, rows, axis=2)
        if not np.any(op.bias):
            self.emit("MatMul", [left, partial], out)
            return
        self.emit("MatMul", [left, partial], f"{out}/rows")
        bias = self.constant(f"{name}/bias", op.bias.reshape(1, -1, 1, 1))
        self.emit("Add", [f"{out}/rows", bias], out)

    def inside(self, op: ir.SpreadConv, taps: int, axis: int) -> str:
        """Where each tap falls inside the image along an axis: [1, 1, h, taps] (axis 2) or [1, 1, taps, w] (axis 3)."""
        padding, dilation = op.padding[axis - 2], op.dilation[axis - 2]
        name = f"size/{op.stride}/axis{axis}"
        result = f"{name}/taps{taps}x{dilation}"
        if result in self.written:
            return result
        other = 5 - axis
        if name not in self.written:
            self.reduce_max(self.plane(op.stride), [other], name)
        kernel = (taps, 1) if axis == 2 else (1, taps)
        shift = self.constant(
            f"taps/{taps}/axis{axis}", np.eye(taps, dtype=np.float32).reshape(taps, 1, kernel[0], kernel[1])
        )
        pads = [padding, 0] * 2 if axis == 2 else [0, padding] * 2
        dilations = [dilation, 1] if axis == 2 else [1, dilation]
        shifted = self.emit(
            "Conv", [name, shift], f"{result}/planes", kernel_shape=list(kernel), pads=pads, dilations=dilations
        )
        return self.emit("Transpose", [shifted], result, perm=[0, 3, 2, 1] if axis == 2 else [0, 2, 1, 3])

    def model(self) -> onnx.ModelProto:
        """The model, checked by ONNX."""
        if self.bytes:
            image = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, "height", "width", 3])
        else:
            channels = next(node.op.channels for node in self.graph.nodes.values() if isinstance(node.op, ir.Input))
            image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, channels, "height", "width"])
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                "fastnas",
                [image],
                [self.output(name) for name in self.graph.outputs.values()],
                list(self.constants.values()),
            ),
            producer_name="fastnas",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model)
        return model

    def output(self, name: str) -> onnx.ValueInfoProto:
        """The type and shape of a value that is an output."""
        shape, op = self.graph.shapes[name], self.graph.nodes[name].op
        size = (
            [1, 1] if shape.stride == ir.PIXEL else [_divided("height", shape.stride), _divided("width", shape.stride)]
        )
        if isinstance(op, ir.ArgMax):
            return helper.make_tensor_value_info(self.value(name), TensorProto.INT32, [1, *size])
        dimensions = [3] if isinstance(op, ir.Peaks) else size
        return helper.make_tensor_value_info(self.value(name), TensorProto.FLOAT, [1, shape.channels, *dimensions])


def _divided(name: str, stride: int) -> str:
    return name if stride == 1 else f"{name}/{stride}"
