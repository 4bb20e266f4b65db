"""The small graph that a network is optimised and written as: a dozen operators on feature maps of one image.

A graph is immutable: every rewrite makes a new one (`Builder`, `rewrite`). Sizes are never numbers of pixels: a value
has channels and a stride. At an input of H x W it is [1, channels, H / stride, W / stride]; stride `PIXEL` means one
pixel, [1, channels, 1, 1]. So one graph serves every resolution that is a multiple of its largest stride.

Shapes: O output and I input channels of a convolution, g groups, k kernel size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pair = tuple[int, int]

PIXEL = 0
"""The stride of a value that is one pixel whatever the input's size."""

OUTPUT = "output"
"""The name of an output of a network that is captured as it is."""


@dataclass(frozen=True)
class Shape:
    """Channels, and the stride relative to the input (`PIXEL`: height and width are 1)."""

    channels: int
    stride: int


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution with zero padding: weight [O, I/g, k, k], bias [O]."""

    weight: Array
    bias: Array
    stride: int = 1
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def pointwise(self) -> bool:
        """Whether every pixel of the output depends on the same pixel of the input alone."""
        return self.weight.shape[2:] == (1, 1) and self.stride == 1 and self.padding == (0, 0)


@dataclass(frozen=True, eq=False)
class Deconv:
    """Transposed convolution: weight [I, O/g, k, k], bias [O]; the output is `stride` times as large."""

    weight: Array
    bias: Array
    stride: int
    padding: Pair
    output_padding: Pair
    groups: int = 1


@dataclass(frozen=True, eq=False)
class SpreadConv:
    """A convolution of stride 1 that keeps the size, applied to one pixel repeated over the size of `stride`.

    Its input is the pixel; weight [O, I/g, k, k], bias [O].
    """

    weight: Array
    bias: Array
    padding: Pair
    dilation: Pair
    groups: int
    stride: int


@dataclass(frozen=True, eq=False)
class Affine:
    """x * scale + shift, per channel: a batch norm with its statistics frozen, or the input's normalisation."""

    scale: Array
    shift: Array


@dataclass(frozen=True, eq=False)
class Constant:
    """One pixel of known values [C]."""

    value: Array


ActivationKind = Literal["relu", "relu6", "sigmoid", "hardsigmoid", "hardswish", "silu", "rsqrt"]


@dataclass(frozen=True)
class Activation:
    """A function of each element."""

    kind: ActivationKind


@dataclass(frozen=True)
class Add:
    """The sum of two or more values; those of one pixel are added everywhere."""


@dataclass(frozen=True)
class Mul:
    """The product of two values; a single pixel scales the other's channels, and a single channel its pixels."""


@dataclass(frozen=True)
class Concat:
    """Channels one after the other."""


Sampling = Literal["half_pixel", "align_corners", "nearest"]


@dataclass(frozen=True)
class Resize:
    """Interpolation to `factor` times the size: bilinear, in either of the two coordinates, or of the nearest pixel."""

    factor: int
    sampling: Sampling = "half_pixel"


@dataclass(frozen=True)
class GlobalPool:
    """The mean over height and width: one pixel."""


@dataclass(frozen=True)
class Pool:
    """Maximum or average over a window."""

    kind: Literal["max", "average"]
    kernel: int
    stride: int
    padding: int
    count_padding: bool = False
    ceil: bool = False


@dataclass(frozen=True)
class Spread:
    """One pixel repeated over the size of `stride`."""

    stride: int


@dataclass(frozen=True)
class Bytes:
    """Makes [1, 3, H, W] floats 0..255 of an input of bytes [1, H, W, 3]."""


@dataclass(frozen=True)
class ArgMax:
    """The channel of the largest value, as integers [1, H, W], of values upsampled `factor` times, channels last."""

    factor: int = 1


@dataclass(frozen=True)
class Peaks:
    """Column, row and height of each channel's peak, [1, J, 3]; `step`, in cells, as in `deploy.onnx.peaks`."""

    step: int


@dataclass(frozen=True)
class Input:
    """The image: [1, C, H, W] floats, or [1, H, W, 3] bytes where `Bytes` reads it."""

    channels: int = 3


Op = (
    Conv | Deconv | SpreadConv | Affine | Constant | Activation | Add | Mul | Concat | Resize | GlobalPool | Pool
    | Spread | Bytes | ArgMax | Peaks | Input
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """An operator and the names of the values it reads."""

    op: Op
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Values by name, each after those it reads; one input.

    Attributes:
        nodes: the values.
        outputs: values by the name of the output that they are.
    """

    nodes: Mapping[str, Node]
    outputs: Mapping[str, str]

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every value."""
        shapes: dict[str, Shape] = {}
        for name, node in self.nodes.items():
            shapes[name] = infer(node.op, [shapes[source] for source in node.inputs])
        return shapes

    def counts(self) -> Counter[str]:
        """How many operators of each class there are."""
        return Counter(type(node.op).__name__ for node in self.nodes.values())

    def multiply_adds(self, height: int, width: int) -> int:
        """Multiply-adds of the convolutions for one image of `height` x `width` pixels."""
        total = 0
        for name, node in self.nodes.items():
            shape = self.shapes[name]
            # What SpreadConv does on full-size features is negligible: its weights meet one pixel.
            stride = PIXEL if isinstance(node.op, SpreadConv) else shape.stride
            if isinstance(node.op, Deconv):
                stride *= node.op.stride  # each input pixel meets each weight once
            if isinstance(node.op, Conv | Deconv | SpreadConv):
                pixels = 1 if stride == PIXEL else -(-height // stride) * -(-width // stride)
                total += node.op.weight.size * pixels
        return total


def infer(op: Op, inputs: list[Shape]) -> Shape:
    """The shape of an operator's output.

    Raises:
        ValueError: the inputs do not fit the operator or each other.
    """
    match op:
        case Input():
            return Shape(op.channels, 1)
        case Constant():
            return Shape(op.value.size, PIXEL)
    x = inputs[0]
    match op:
        case Conv():
            _require(x.channels == op.weight.shape[1] * op.groups, op, inputs)
            return Shape(op.weight.shape[0], x.stride * op.stride)
        case SpreadConv():
            _require(x.channels == op.weight.shape[1] * op.groups and x.stride == PIXEL, op, inputs)
            return Shape(op.weight.shape[0], op.stride)
        case Deconv():
            _require(x.channels == op.weight.shape[0] and x.stride % op.stride == 0, op, inputs)
            return Shape(op.weight.shape[1] * op.groups, x.stride // op.stride)
        case Resize():
            _require(x.stride % op.factor == 0, op, inputs)
            return Shape(x.channels, x.stride // op.factor)
        case Pool():
            return Shape(x.channels, x.stride * op.stride)
        case GlobalPool():
            return Shape(x.channels, PIXEL)
        case Spread():
            _require(x.stride == PIXEL, op, inputs)
            return Shape(x.channels, op.stride)
        case Add() | Mul():
            channels, strides = {other.channels for other in inputs}, {other.stride for other in inputs} - {PIXEL}
            most = max(channels)
            fits = channels == {most} or (isinstance(op, Mul) and channels == {1, most})
            _require(fits and len(strides) <= 1, op, inputs)
            return Shape(most, strides.pop() if strides else PIXEL)
        case Concat():
            _require(len({other.stride for other in inputs}) == 1, op, inputs)
            return Shape(sum(other.channels for other in inputs), x.stride)
        case ArgMax():
            return Shape(1, x.stride // op.factor)
        case Affine() | Activation() | Bytes() | Peaks():
            return x


def _require(condition: bool, op: Op, inputs: list[Shape]) -> None:
    if not condition:
        raise ValueError(f"{type(op).__name__} does not fit its inputs {inputs}")


class Builder:
    """Makes a graph value by value.

    Attributes:
        nodes: what was added so far.
        shapes: their shapes.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.shapes: dict[str, Shape] = {}

    def add(self, op: Op, *inputs: str, name: str) -> str:
        """Add a value; a name that is taken gets a number. Returns the name."""
        unique, number = name, 1
        while unique in self.nodes:
            number += 1
            unique = f"{name}.{number}"
        self.shapes[unique] = infer(op, [self.shapes[source] for source in inputs])
        self.nodes[unique] = Node(op, inputs)
        return unique

    def op(self, name: str) -> Op:
        """The operator that made a value."""
        return self.nodes[name].op

    def source(self, name: str) -> str:
        """The only value that the operator of a value reads."""
        (source,) = self.nodes[name].inputs
        return source


Rule = Callable[[Builder, str, Node, Counter[str]], "str | None"]
"""Gets the builder, the name and the node (its inputs are values of the builder), and how often each value of the
builder is read; adds what replaces the node and returns its name, or None to keep the node."""


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph with `rule` applied to every node, in order, and what nothing reads any more left out."""
    build = Builder()
    renamed: dict[str, str] = {}
    reads = Counter(source for node in graph.nodes.values() for source in node.inputs)
    reads.update(graph.outputs.values())
    uses: Counter[str] = Counter()
    for name, node in graph.nodes.items():
        mapped = Node(node.op, tuple(renamed[source] for source in node.inputs))
        replaced = rule(build, name, mapped, uses)
        renamed[name] = build.add(mapped.op, *mapped.inputs, name=name) if replaced is None else replaced
        uses[renamed[name]] += reads[name]
    return prune(Graph(build.nodes, {output: renamed[value] for output, value in graph.outputs.items()}))


def prune(graph: Graph) -> Graph:
    """The graph without values that its outputs do not need; the input always stays."""
    needed = set(graph.outputs.values())
    for name, node in reversed(list(graph.nodes.items())):
        if name in needed:
            needed.update(node.inputs)
    return Graph(
        {name: node for name, node in graph.nodes.items() if name in needed or isinstance(node.op, Input | Bytes)},
        graph.outputs,
    )
