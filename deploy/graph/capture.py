"""An evaluated PyTorch network becomes a `Graph`.

`torch.export` runs the network once on a weightless image and records the operators that ran, so control flow, hooks
and training-only parts are gone and any encoder works whose operators `_CONVERTERS` knows. Sizes recorded in pixels
become strides.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fastnas.deploy.graph.ir import (
    PIXEL,
    Activation,
    ActivationKind,
    Add,
    Affine,
    Array,
    Builder,
    Concat,
    Constant,
    Conv,
    Deconv,
    GlobalPool,
    Graph,
    Input,
    Mul,
    Op,
    Pool,
    Resize,
    Spread,
    prune,
)
from fastnas.errors import FastnasError

SIZE = 256
"""Side of the image that is recorded: large enough that every stride up to 64 gives another size."""


def capture(network: nn.Module) -> Graph:
    """The graph of a network as it is evaluated: images [1, 3, H, W] -> logits [1, K, h, w].

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
    parameters = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}

    build = Builder()
    values: dict[torch.fx.Node, Any] = {}
    output = ""
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in signature.user_inputs:
                values[node] = build.add(Input(), name="image")
            elif node.name in parameters:
                values[node] = state[parameters[node.name]]
            else:
                values[node] = state[signature.inputs_to_lifted_tensor_constants[node.name]]
        elif node.op == "call_function" and "new_zeros" in str(node.target):
            values[node] = _zeros(build, node)
        elif node.op == "call_function":
            values[node] = _convert(build, node, values)
        elif node.op == "output":
            (output,) = (values[result] for result in node.args[0])
    return prune(Graph(build.nodes, output))


def _convert(build: Builder, node: torch.fx.Node, values: dict[torch.fx.Node, Any]) -> Any:
    kind = str(node.target).removeprefix("aten.").split(".")[0].rstrip("_")
    where = _module(node)
    converter = _CONVERTERS.get(kind)
    if converter is None:
        raise FastnasError(f"{where or 'the network'} uses the operator {kind}, which cannot be exported")
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = {argument.name: argument.default_value for argument in schema}
    given.update(zip((argument.name for argument in schema), args, strict=False))
    given.update(kwargs)
    given["result"], given["shapes"] = node.meta["val"], build.shapes
    if node.all_input_nodes:
        given["whole"] = node.all_input_nodes[0].meta["val"]
    try:
        op, inputs = converter(given)
    except _Unsupported as error:
        raise FastnasError(f"{where or 'the network'}: {kind} {error}, which cannot be exported") from None
    return inputs[0] if op is None else build.add(op, *inputs, name=where or kind)


def _zeros(build: Builder, node: torch.fx.Node) -> str:
    result = node.meta["val"]
    zero = build.add(Constant(np.zeros(result.shape[1], np.float32)), name="zero")
    return build.add(Spread(_stride({"result": result})), zero, name="zeros")


def _module(node: torch.fx.Node) -> str:
    """The dotted name of the innermost module that ran the operator."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


class _Unsupported(Exception):
    """A converter does not know this form of its operator."""


Converted = tuple["Op | None", list[str]]


def _numpy(tensor: Tensor) -> Array:
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


def _bias(given: dict[str, Any], channels: int) -> Array:
    return np.zeros(channels, np.float32) if given["bias"] is None else _numpy(given["bias"])


def _conv(given: dict[str, Any]) -> Converted:
    weight, padding = _numpy(given["weight"]), given["padding"]
    if isinstance(padding, str):
        raise _Unsupported(f"with padding {padding!r}")
    stride = _one(given["stride"], "stride")
    conv = Conv(
        weight, _bias(given, len(weight)), stride, _pair(padding), _pair(given["dilation"]), int(given["groups"])
    )
    return conv, [given["input"]]


def _deconv(given: dict[str, Any]) -> Converted:
    weight, groups = _numpy(given["weight"]), int(given["groups"])
    if _pair(given["dilation"]) != (1, 1):
        raise _Unsupported("with dilation")
    stride = _one(given["stride"], "stride")
    padding, extra = _pair(given["padding"]), _pair(given["output_padding"])
    if any(k - 2 * p + e != stride for k, p, e in zip(weight.shape[2:], padding, extra, strict=True)):
        raise _Unsupported(f"whose output is not exactly {stride} times as large")
    return Deconv(weight, _bias(given, weight.shape[1] * groups), stride, padding, extra, groups), [given["input"]]


def _batch_norm(given: dict[str, Any]) -> Converted:
    mean, variance = given["running_mean"].double(), given["running_var"].double()
    scale = (variance + given["eps"]).rsqrt()
    if given["weight"] is not None:
        scale = scale * given["weight"].double()
    shift = -mean * scale
    if given["bias"] is not None:
        shift = shift + given["bias"].double()
    return Affine(_numpy(scale), _numpy(shift)), [given["input"]]


def _activation(kind: ActivationKind) -> Callable[[dict[str, Any]], Converted]:
    return lambda given: (Activation(kind), [given["self"]])


def _hardtanh(given: dict[str, Any]) -> Converted:
    if (given["min_val"], given["max_val"]) != (0, 6):
        raise _Unsupported(f"between {given['min_val']} and {given['max_val']}")
    return Activation("relu6"), [given["self"]]


def _per_channel(value: Any) -> Array | None:
    """A constant [C, 1, 1] as [C]; None for anything else."""
    if isinstance(value, torch.Tensor) and value.ndim == 3 and value.shape[1:] == (1, 1):
        return _numpy(value.double().flatten())
    return None


def _add(given: dict[str, Any]) -> Converted:
    if given["alpha"] == 1 and (known := _per_channel(given["other"])) is not None:
        return Affine(np.ones_like(known), known), [given["self"]]
    if given["alpha"] != 1 or not isinstance(given["other"], str):
        raise _Unsupported("of anything but two features, or a feature and a constant per channel")
    return Add(), [given["self"], given["other"]]


def _mul(given: dict[str, Any]) -> Converted:
    if (known := _per_channel(given["other"])) is not None:
        return Affine(known, np.zeros_like(known)), [given["self"]]
    if not isinstance(given["other"], str):
        raise _Unsupported("by anything but a feature or a constant per channel")
    return Mul(), [given["self"], given["other"]]


def _cat(given: dict[str, Any]) -> Converted:
    if given["dim"] != 1:
        raise _Unsupported(f"along dimension {given['dim']}")
    return Concat(), list(given["tensors"])


def _stride(given: dict[str, Any]) -> int:
    height, width = given["result"].shape[2:]
    if height != width or SIZE % height:
        raise _Unsupported(f"to {height}x{width} for an image of {SIZE}x{SIZE}")
    return PIXEL if height == 1 else SIZE // int(height)


def _upsample(given: dict[str, Any]) -> Converted:
    if given["align_corners"]:
        raise _Unsupported("with align_corners")
    target = _stride(given)
    source = given["shapes"][given["input"]]
    if source.stride == PIXEL:
        return Spread(target), [given["input"]]
    if source.stride % target:
        raise _Unsupported("to a smaller size")
    factor = source.stride // target
    return (None if factor == 1 else Resize(factor)), [given["input"]]


def _expand(given: dict[str, Any]) -> Converted:
    if given["shapes"][given["self"]].stride != PIXEL:
        raise _Unsupported("of more than one pixel")
    return Spread(_stride(given)), [given["self"]]


def _adaptive_pool(given: dict[str, Any]) -> Converted:
    if tuple(given["output_size"]) != (1, 1):
        raise _Unsupported(f"to {given['output_size']}")
    return GlobalPool(), [given["self"]]


def _mean(given: dict[str, Any]) -> Converted:
    if {dim % 4 for dim in given["dim"] or ()} != {2, 3} or not given["keepdim"]:
        raise _Unsupported("over anything but height and width")
    return GlobalPool(), [given["self"]]


def _pool(kind: Literal["max", "average"]) -> Callable[[dict[str, Any]], Converted]:
    def convert(given: dict[str, Any]) -> Converted:
        if kind == "max" and _one(given["dilation"], "dilation") != 1:
            raise _Unsupported("with dilation")
        if given.get("divisor_override") is not None:
            raise _Unsupported("with a divisor of its own")
        kernel, padding = _one(given["kernel_size"], "kernel"), _one(given["padding"], "padding")
        stride = _one(given["stride"] or kernel, "stride")
        counted = bool(given.get("count_include_pad", False)) and padding > 0
        return Pool(kind, kernel, stride, padding, counted, bool(given["ceil_mode"])), [given["self"]]

    return convert


def _same(given: dict[str, Any]) -> Converted:
    return None, [given["self"] if "self" in given else given["input"]]


def _slice(given: dict[str, Any]) -> Converted:
    if given["result"].shape != given["whole"].shape:
        raise _Unsupported("that cuts something off")
    return None, [given["self"]]


_CONVERTERS: dict[str, Callable[[dict[str, Any]], Converted]] = {
    "conv2d": _conv,
    "conv_transpose2d": _deconv,
    "batch_norm": _batch_norm,
    "relu": _activation("relu"),
    "relu6": _activation("relu6"),
    "hardtanh": _hardtanh,
    "sigmoid": _activation("sigmoid"),
    "hardsigmoid": _activation("hardsigmoid"),
    "hardswish": _activation("hardswish"),
    "silu": _activation("silu"),
    "add": _add,
    "mul": _mul,
    "cat": _cat,
    "upsample_bilinear2d": _upsample,
    "expand": _expand,
    "adaptive_avg_pool2d": _adaptive_pool,
    "mean": _mean,
    "max_pool2d": _pool("max"),
    "avg_pool2d": _pool("average"),
    "slice": _slice,
    "alias": _same,
    "dropout": _same,
    "contiguous": _same,
    "clone": _same,
}
