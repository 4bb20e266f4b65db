"""A PyTorch network in evaluation mode becomes a `Graph`.

`torch.export` runs the network once on an image without data and records the operators that ran: control flow, hooks
and training-only parts are gone, and any encoder works whose operators are in `_CONVERTERS`. Sizes recorded in pixels
become strides.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from fastnas.deploy.graph import ir
from fastnas.deploy.graph.ir import Builder, Graph
from fastnas.errors import FastnasError

SIZE = 256
"""Side of the image that is recorded: large enough that every stride up to 64 gives another size."""

Feature = str
"""The name of a value of the graph: a feature map of the network."""


def capture(network: nn.Module) -> Graph:
    """The graph of a network in evaluation mode: images [1, 3, H, W] -> logits [1, K, h, w].

    Raises:
        FastnasError: the network uses an operator that the graph does not have.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    image = torch.zeros(1, 3, SIZE, SIZE)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (image,), strict=False)
    state: dict[str, Any] = {**program.state_dict, **program.constants}
    signature = program.graph_signature
    tensors = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }

    build = Builder()
    values: dict[torch.fx.Node, Any] = {}  # names of feature maps, and tensors
    output = ""
    for node in program.graph.nodes:
        if node.op == "placeholder":
            image_input = node.name in signature.user_inputs
            values[node] = build.add(ir.Input(), name="image") if image_input else state[tensors[node.name]]
        elif node.op == "call_function":
            values[node] = _convert(build, node, values)
        elif node.op == "output":
            (output,) = (values[result] for result in node.args[0])
    return ir.prune(Graph(build.nodes, {ir.OUTPUT: output}))


@dataclass(frozen=True)
class Call:
    """What a converter needs to know of a recorded operator besides its arguments.

    Attributes:
        build: the graph so far.
        name: of the value that the operator makes.
        result: recorded shape of that value, [1, C, h, w] for an image of `SIZE`.
    """

    build: Builder
    name: str
    result: torch.Size

    def add(self, op: ir.Op, *inputs: Feature) -> Feature:
        """Add what the operator computes to the graph."""
        return self.build.add(op, *inputs, name=self.name)

    def shape(self) -> ir.Shape:
        """The recorded shape, its size as a stride."""
        _, channels, height, width = self.result
        if height != width or SIZE % height:
            raise _Unsupported(f"to {height}x{width} for an image of {SIZE}x{SIZE}")
        return ir.Shape(channels, ir.PIXEL if height == 1 else SIZE // height)


class _Unsupported(Exception):
    """A converter does not know this form of its operator."""


def _convert(build: Builder, node: torch.fx.Node, values: dict[torch.fx.Node, Any]) -> Feature:
    kind = str(node.target).removeprefix("aten.").split(".")[0].rstrip("_")
    module = _module(node)
    converter = _CONVERTERS.get(kind)
    if converter is None:
        raise FastnasError(f"{module or 'the network'} uses the operator {kind}, which cannot be exported")
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    rest = [kwargs.get(argument.name, argument.default_value) for argument in schema[len(args) :]]
    try:
        return converter(Call(build, module or kind, node.meta["val"].shape), *args, *rest)
    except _Unsupported as error:
        raise FastnasError(f"{module or 'the network'}: {kind} {error}, which cannot be exported") from None


def _module(node: torch.fx.Node) -> str:
    """The dotted name of the innermost module that ran the operator."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _numpy(tensor: Tensor) -> ir.Array:
    return tensor.detach().numpy().astype(np.float32)


def _one(value: Any, what: str) -> int:
    """The number that a list of one or two equal numbers stands for."""
    numbers = set(value) if isinstance(value, list | tuple) else {value}
    if len(numbers) != 1:
        raise _Unsupported(f"with {what} {value}")
    return int(numbers.pop())


def _pair(value: Any) -> tuple[int, int]:
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    return int(numbers[0]), int(numbers[-1])


def _bias(bias: Tensor | None, channels: int) -> ir.Array:
    return np.zeros(channels, np.float32) if bias is None else _numpy(bias)


# Converters get a call, and the operator's arguments in the order of its schema with defaults filled in.


def _conv(
    call: Call, x: Feature, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Feature:
    if isinstance(padding, str):
        raise _Unsupported(f"with padding {padding!r}")
    taps, step = _numpy(weight), _one(stride, "stride")
    return call.add(ir.Conv(taps, _bias(bias, len(taps)), step, _pair(padding), _pair(dilation), int(groups)), x)


def _deconv(
    call: Call, x: Feature, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> Feature:  # fmt: skip
    if _pair(dilation) != (1, 1):
        raise _Unsupported("with dilation")
    taps, step = _numpy(weight), _one(stride, "stride")
    pads, extra = _pair(padding), _pair(output_padding)
    if any(k - 2 * p + e != step for k, p, e in zip(taps.shape[2:], pads, extra, strict=True)):
        raise _Unsupported(f"whose output is not exactly {step} times as large")
    return call.add(ir.Deconv(taps, _bias(bias, taps.shape[1] * groups), step, pads, extra, int(groups)), x)


def _batch_norm(
    call: Call, x: Feature, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor,
    training: bool, momentum: float, eps: float, *_: Any,
) -> Feature:  # fmt: skip
    scale = (variance.double() + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.double()
    shift = -mean.double() * scale
    if bias is not None:
        shift = shift + bias.double()
    return call.add(ir.Affine(_numpy(scale), _numpy(shift)), x)


def _activation(kind: ir.ActivationKind, call: Call, x: Feature) -> Feature:
    return call.add(ir.Activation(kind), x)


def _hardtanh(call: Call, x: Feature, least: float, largest: float) -> Feature:
    if (least, largest) != (0, 6):
        raise _Unsupported(f"between {least} and {largest}")
    return call.add(ir.Activation("relu6"), x)


def _per_channel(value: Any) -> ir.Array | None:
    """A constant [C, 1, 1] as [C]; None for anything else."""
    if isinstance(value, torch.Tensor) and value.ndim == 3 and value.shape[1:] == (1, 1):
        return _numpy(value.double().flatten())
    return None


def _add(call: Call, x: Feature, other: Any, alpha: float) -> Feature:
    if alpha == 1 and (known := _per_channel(other)) is not None:
        return call.add(ir.Affine(np.ones_like(known), known), x)
    if alpha != 1 or not isinstance(other, Feature):
        raise _Unsupported("of anything but two feature maps, or a feature map and a constant per channel")
    return call.add(ir.Add(), x, other)


def _mul(call: Call, x: Feature, other: Any) -> Feature:
    if (known := _per_channel(other)) is not None:
        return call.add(ir.Affine(known, np.zeros_like(known)), x)
    if not isinstance(other, Feature):
        raise _Unsupported("by anything but a feature map or a constant per channel")
    return call.add(ir.Mul(), x, other)


def _cat(call: Call, features: list[Feature], dim: int) -> Feature:
    if dim != 1:
        raise _Unsupported(f"along dimension {dim}")
    return call.add(ir.Concat(), *features)


def _group_norm(
    call: Call, x: Feature, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, *_: Any
) -> Feature:
    """With mean and variance of each group as convolutions of the means of its channels."""
    channels = call.build.shapes[x].channels
    share = np.full((channels, channels // groups, 1, 1), groups / channels, np.float32)
    zero, least = np.zeros(channels, np.float32), np.full(channels, eps, np.float32)
    minus_mean = call.add(ir.Conv(-share, zero, groups=groups), call.add(ir.GlobalPool(), x))
    centred = call.add(ir.Add(), x, minus_mean)
    squares = call.add(ir.GlobalPool(), call.add(ir.Mul(), centred, centred))
    variance = call.add(ir.Conv(share, least, groups=groups), squares)
    normal = call.add(ir.Mul(), centred, call.add(ir.Activation("rsqrt"), variance))
    scale = np.ones(channels, np.float32) if weight is None else _numpy(weight)
    return call.add(ir.Affine(scale, _bias(bias, channels)), normal)


def _stack(call: Call, features: list[Feature], dim: int) -> list[Feature]:
    if dim != 0:
        raise _Unsupported(f"along dimension {dim}")
    return features


def _sum(call: Call, stacked: Any, dims: Any, *_: Any) -> Feature:
    if not isinstance(stacked, list) or list(dims) != [0]:
        raise _Unsupported("of anything but a stack of feature maps")
    return call.add(ir.Add(), *stacked)


def _bilinear(call: Call, x: Feature, size: Any, align_corners: bool, *_: Any) -> Feature:
    return _upsample(call, x, "align_corners" if align_corners else "half_pixel")


def _nearest(call: Call, x: Feature, *_: Any) -> Feature:
    return _upsample(call, x, "nearest")


def _upsample(call: Call, x: Feature, sampling: ir.Sampling) -> Feature:
    old, new = call.build.shapes[x].stride, call.shape().stride
    if old == ir.PIXEL:
        return call.add(ir.Spread(new), x)
    if old % new:
        raise _Unsupported("to a smaller size")
    return x if old == new else call.add(ir.Resize(old // new, sampling), x)


def _zeros(call: Call, *_: Any) -> Feature:
    shape = call.shape()
    zero = call.build.add(ir.Constant(np.zeros(shape.channels, np.float32)), name="zero")
    return call.build.add(ir.Spread(shape.stride), zero, name="zeros")


def _expand(call: Call, x: Feature, *_: Any) -> Feature:
    if call.build.shapes[x].stride != ir.PIXEL:
        raise _Unsupported("of more than one pixel")
    return call.add(ir.Spread(call.shape().stride), x)


def _adaptive_pool(call: Call, x: Feature, size: Any) -> Feature:
    if tuple(size) != (1, 1):
        raise _Unsupported(f"to {size}")
    return call.add(ir.GlobalPool(), x)


def _mean(call: Call, x: Feature, dims: Any = None, keep_dims: bool = False, *_: Any) -> Feature:
    if {dim % 4 for dim in dims or ()} != {2, 3} or not keep_dims:
        raise _Unsupported("over anything but height and width")
    return call.add(ir.GlobalPool(), x)


def _window(kernel: Any, stride: Any, padding: Any) -> tuple[int, int, int]:
    size = _one(kernel, "kernel")
    return size, _one(stride or size, "stride"), _one(padding, "padding")


def _max_pool(call: Call, x: Feature, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Feature:
    if _one(dilation, "dilation") != 1:
        raise _Unsupported("with dilation")
    return call.add(ir.Pool("max", *_window(kernel, stride, padding), ceil=ceil), x)


def _average_pool(
    call: Call, x: Feature, kernel: Any, stride: Any, padding: Any, ceil: bool, count_padding: bool, divisor: Any
) -> Feature:
    if divisor is not None:
        raise _Unsupported("with a divisor of its own")
    window = _window(kernel, stride, padding)
    return call.add(ir.Pool("average", *window, count_padding=count_padding and window[2] > 0, ceil=ceil), x)


def _same(call: Call, x: Feature, *_: Any) -> Feature:
    return x


def _slice(call: Call, x: Feature, *_: Any) -> Feature:
    if call.shape() != call.build.shapes[x]:
        raise _Unsupported("that cuts something off")
    return x


_CONVERTERS: dict[str, Callable[..., Any]] = {
    "conv2d": _conv,
    "conv_transpose2d": _deconv,
    "batch_norm": _batch_norm,
    **{kind: partial(_activation, kind) for kind in get_args(ir.ActivationKind)},
    "hardtanh": _hardtanh,
    "add": _add,
    "mul": _mul,
    "cat": _cat,
    "group_norm": _group_norm,
    "stack": _stack,
    "sum": _sum,
    "upsample_bilinear2d": _bilinear,
    "upsample_nearest2d": _nearest,
    "new_zeros": _zeros,
    "expand": _expand,
    "adaptive_avg_pool2d": _adaptive_pool,
    "mean": _mean,
    "max_pool2d": _max_pool,
    "avg_pool2d": _average_pool,
    "slice": _slice,
    "alias": _same,
    "dropout": _same,
    "feature_dropout": _same,
    "contiguous": _same,
    "clone": _same,
}
