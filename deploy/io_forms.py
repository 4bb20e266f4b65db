"""Input and outputs of an artifact's graph: bytes or normalised floats in; logits, labels or peaks out, task by task.

These steps change what is computed; the rewrites (`fastnas.deploy.graph.rewrites`) do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from fastnas.deploy.graph.ir import (
    OUTPUT,
    Activation,
    Add,
    Affine,
    ArgMax,
    Builder,
    Bytes,
    Constant,
    Conv,
    Graph,
    Input,
    Node,
    Peaks,
    Resize,
    Spread,
    prune,
    rewrite,
)
from fastnas.errors import FastnasError
from fastnas.jetson.inference.decode import peak_step
from fastnas.tasks import Task, channels_of

Layout = Literal["NCHW", "NHWC"]
Head = Literal["plain", "upsampled", "labels", "small-labels", "peaks"]

LABELS = ("labels", "small-labels")
"""Class ids of the image's size, and of the decoder's."""

HEAD_TASKS = {"labels": "segmentation", "small-labels": "segmentation", "peaks": "pose"}
"""The only task that a head is for; the others are for all."""


class Form(NamedTuple):
    """One output of a file.

    Attributes:
        name: of the output.
        channels: which of the network's it has.
        head: what it gives of them.
    """

    name: str = OUTPUT
    channels: slice = slice(None)
    head: Head = "plain"


def forms_of(task: Task, heads: Sequence[Head]) -> tuple[Form, ...]:
    """The outputs of a file, one for each task, named after its kind.

    Args:
        task: of the network.
        heads: each is for those tasks that can have it, the first that is for one alone before `upsampled`.

    Raises:
        FastnasError: no task can have one of them.
    """
    kinds = channels_of(task)
    for head in heads:
        if HEAD_TASKS.get(head, task.kind) not in (task.kind, *kinds):
            raise FastnasError(
                f"only {HEAD_TASKS[head]} has {head}; a {task.kind} model is exported with its plain output"
            )

    def head_of(kind: str) -> Head:
        own = [head for head in heads if HEAD_TASKS.get(head) == kind]
        return (own + [head for head in heads if head not in HEAD_TASKS] + ["plain"])[0]

    return tuple(Form(kind, channels, head_of(kind)) for kind, channels in kinds.items())


def take_bytes(graph: Graph, mean: tuple[float, ...], std: tuple[float, ...]) -> Graph:
    """The graph on raw pixels [1, H, W, 3], 0..255, instead of normalised floats [1, 3, H, W].

    (pixel / 255 - mean) / std = pixel / (255 std) - mean / std, per channel. It does not become part of the first
    convolution, whose zero padding stands for pixels of the mean colour.
    """
    scale = 1 / (255 * np.asarray(std, np.float64))
    shift = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
    affine = Affine(scale.astype(np.float32), shift.astype(np.float32))

    def rule(build: Builder, name: str, node: Node, uses: Counter[str]) -> str | None:
        if not isinstance(node.op, Input):
            return None
        pixels = build.add(Bytes(), build.add(node.op, name=name), name="pixels")
        return build.add(affine, pixels, name="normalised")

    return rewrite(graph, rule)


def split(graph: Graph, forms: Sequence[Form]) -> Graph:
    """The graph of one output with the channels of each form as an output of its own.

    The last convolution becomes one for each, with its rows of the weights: exactly what it computed. Whatever follows
    it works on each channel alone, and follows every part of it.

    Raises:
        FastnasError: the channels are mixed after the last convolution.
    """
    (whole,) = graph.outputs.values()
    build = Builder()
    for name, node in graph.nodes.items():
        build.add(node.op, *node.inputs, name=name)
    total = graph.shapes[whole].channels

    def part(value: str, form: Form) -> str:
        node, name = graph.nodes[value], f"{value}/{form.name}"
        op, rows = node.op, form.channels
        match op:
            case Conv() if op.groups == 1:
                return build.add(replace(op, weight=op.weight[rows], bias=op.bias[rows]), *node.inputs, name=name)
            case Constant():
                return build.add(Constant(op.value[rows]), name=name)
            case Affine():
                return build.add(Affine(op.scale[rows], op.shift[rows]), part(node.inputs[0], form), name=name)
            case Activation() | Add() | Resize() | Spread():
                return build.add(op, *(part(source, form) for source in node.inputs), name=name)
        raise FastnasError(f"{value} cannot be divided among the tasks: it mixes their channels")

    outputs = {}
    for form in forms:
        everything = range(total)[form.channels] == range(total)
        outputs[form.name] = whole if everything else part(whole, form)
    return prune(Graph(build.nodes, outputs))


def give(graph: Graph, forms: Sequence[Form], layout: Layout = "NCHW") -> Graph:
    """The graph with each output as its form says: upsampled to the image's size, or labels [1, H, W] of that size.

    `small-labels` are those of the output as it is: nothing is upsampled, of 21 classes 21 planes.

    Upsampling and arg-max are much faster in ONNX Runtime with a pixel's channels side by side. TensorRT 8 is not known
    to resize that way, so it is done where bytes as input (`NHWC`) leave out TensorRT anyway.

    Peaks, one for each channel, are found in the output as it is: the decoder works between cells.
    """
    build = Builder()
    for name, node in graph.nodes.items():
        build.add(node.op, *node.inputs, name=name)
    heads = {form.name: form.head for form in forms}
    outputs = {name: _head(build, value, heads[name], layout) for name, value in graph.outputs.items()}
    return Graph(build.nodes, outputs)


def _head(build: Builder, output: str, head: Head, layout: Layout) -> str:
    """The value of an output with its head."""
    stride = build.shapes[output].stride
    if head == "plain":
        return output
    if head == "peaks":
        return build.add(Peaks(peak_step(stride)), output, name="joints")
    if head == "small-labels":
        return build.add(ArgMax(), output, name="labels")
    if head == "labels" and layout == "NHWC":
        return build.add(ArgMax(stride), output, name="labels")
    if stride > 1:
        output = build.add(Resize(stride), output, name="upsampled")
    return build.add(ArgMax(), output, name="labels") if head == "labels" else output
