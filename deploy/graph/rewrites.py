"""Rewrites of a graph, each exact in real arithmetic, and the order in which they are applied.

Every rewrite is a function from graph to graph, written as a rule for one node whose docstring says why the result is
the same. `optimise` applies them all and reports the effect of each; `benchmarks/rewrites.py` measures what each saves.

Notation: W a convolution's weights, b its bias, U bilinear upsampling by a whole factor, p a pixel and S(p) the same
pixel repeated over the size of a feature map.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps

import numpy as np

from fastnas.deploy.graph import ir
from fastnas.deploy.graph.ir import Builder, Graph, Node, Rule


def _every_node(rule: Rule) -> Callable[[Graph], Graph]:
    """The rewrite that applies a rule to each node of a graph."""

    @wraps(rule)
    def apply(graph: Graph) -> Graph:
        return ir.rewrite(graph, rule)

    return apply


@_every_node
def fold_batch_norms(build: Builder, name: str, node: Node, uses: Counter[str]) -> str | None:
    """A per-channel scale s and shift t after a convolution go into it.

    s (W x + b) + t = (s W) x + (s b + t), for each output channel.
    """
    if not isinstance(node.op, ir.Affine) or uses[node.inputs[0]] != 1:
        return None
    conv = build.op(node.inputs[0])
    scale, shift = node.op.scale, node.op.shift
    if isinstance(conv, ir.Conv):
        weight = conv.weight * scale.reshape(-1, 1, 1, 1)
    elif isinstance(conv, ir.Deconv):
        # Its weights are [I, O/g, k, k], and the inputs of a group are consecutive.
        inputs, outputs = conv.weight.shape[:2]
        grouped = conv.weight.reshape(conv.groups, inputs // conv.groups, *conv.weight.shape[1:])
        weight = (grouped * scale.reshape(conv.groups, 1, outputs, 1, 1)).reshape(conv.weight.shape)
    else:
        return None
    folded = replace(conv, weight=weight, bias=conv.bias * scale + shift)
    return build.add(folded, build.source(node.inputs[0]), name=name)


@_every_node
def sink_spreads(build: Builder, name: str, node: Node, uses: Counter[str]) -> str | None:
    """A pixel that a pooled branch repeats over the size of a feature map stays one pixel for as long as possible.

    - f(S(p)) = S(f(p)) for whatever works on each pixel alone: activations, scales, 1x1 convolutions, sums and
      products of repeated pixels, concatenation.
    - mean(S(p)) = p, and U(S(p)) = S(p) at the larger size, since interpolation weights sum to one.
    - x + S(p) adds p everywhere, x * S(p) scales channels by p: broadcasting, nothing is repeated.
    - A larger convolution of S(p) is not the same everywhere, as its zero padding reaches into the border, but each tap
      sees either p or zero: see `SpreadConv`. (This is arch2's conv3x3 of its gap.)
    """

    def pixel(value: str) -> str | None:
        return build.source(value) if isinstance(build.op(value), ir.Spread) else None

    pixels = [pixel(value) for value in node.inputs]
    if not any(pixels):
        return None
    op, known = node.op, [value for value in pixels if value]
    stride = build.shapes[node.inputs[0]].stride
    match op:
        case ir.Activation() | ir.Affine() | ir.Concat() if len(known) == len(pixels):
            return build.add(ir.Spread(stride), build.add(op, *known, name=f"{name}/pixel"), name=name)
        case ir.Conv() if op.pointwise:
            return build.add(ir.Spread(stride), build.add(op, *known, name=f"{name}/pixel"), name=name)
        case ir.Conv() if op.stride == 1 and _keeps_size(op):
            spread = ir.SpreadConv(op.weight, op.bias, op.padding, op.dilation, op.groups, stride)
            return build.add(spread, *known, name=name)
        case ir.GlobalPool():
            return known[0]
        case ir.Resize(factor):
            return build.add(ir.Spread(stride // factor), *known, name=name)
        case ir.Mul() | ir.Add():
            full = [value for value, p in zip(node.inputs, pixels, strict=True) if not p]
            total = known[0] if len(known) == 1 else build.add(op, *known, name=f"{name}/pixel")
            if full:
                return build.add(op, *full, total, name=name)
            return build.add(ir.Spread(stride), total, name=name)
    return None


def _keeps_size(op: ir.Conv) -> bool:
    return all(
        2 * padding == dilation * (kernel - 1)
        for padding, dilation, kernel in zip(op.padding, op.dilation, op.weight.shape[2:], strict=True)
    )


@_every_node
def split_concat(build: Builder, name: str, node: Node, uses: Counter[str]) -> str | None:
    """A 1x1 convolution of a concatenation becomes a sum of 1x1 convolutions where a part was upsampled or is a pixel.

    W concat(x_1, ..., x_n) + b = W_1 x_1 + ... + W_n x_n + b, with W's columns cut like the channels; the bias counts
    once. Parts of full size stay together. What follows (a ReLU) sees the same sum. `convolve_before_resize` then moves
    the upsampling of each part behind its convolution.
    """
    op = node.op
    if not isinstance(op, ir.Conv) or not op.pointwise or op.groups != 1:
        return None
    concat = build.nodes[node.inputs[0]]
    if not isinstance(concat.op, ir.Concat) or uses[node.inputs[0]] != 1:
        return None
    ends = np.cumsum([build.shapes[part].channels for part in concat.inputs])
    columns = dict(enumerate(np.split(op.weight, ends[:-1], axis=1)))
    apart = [i for i, part in enumerate(concat.inputs) if isinstance(build.op(part), ir.Resize | ir.Spread)]
    if not apart:
        return None
    terms: list[str] = []
    bias = op.bias
    together = [i for i in columns if i not in apart]
    for group in ([together] if together else []) + [[i] for i in apart]:
        parts = [concat.inputs[i] for i in group]
        source = parts[0] if len(parts) == 1 else build.add(ir.Concat(), *parts, name=f"{name}/concat")
        weight = np.concatenate([columns[i] for i in group], axis=1)
        terms.append(build.add(replace(op, weight=weight, bias=bias), source, name=f"{name}/part{len(terms)}"))
        bias = np.zeros_like(bias)
    return terms[0] if len(terms) == 1 else build.add(ir.Add(), *terms, name=name)


@_every_node
def convolve_before_resize(build: Builder, name: str, node: Node, uses: Counter[str]) -> str | None:
    """A 1x1 convolution of an upsampled feature is computed before the upsampling, on fewer pixels.

    Each pixel of U(x) is a sum of pixels of x with weights that do not depend on the channel and sum to one. So
    W U(x) + b = U(W x) + b = U(W x + b): the first since the two sums can be exchanged, the second since U keeps
    constants. Done where nothing else needs U(x) and the convolution does not add channels to upsample.
    """
    op, source = node.op, node.inputs[0] if node.inputs else ""
    if not isinstance(op, ir.Conv) or not op.pointwise or uses[source] > 1:
        return None
    resize = build.op(source)
    if not isinstance(resize, ir.Resize) or len(op.weight) > build.shapes[source].channels:
        return None
    return build.add(resize, build.add(op, build.source(source), name=f"{name}/small"), name=name)


@_every_node
def merge_linear_convolutions(build: Builder, name: str, node: Node, uses: Counter[str]) -> str | None:
    """Two 1x1 convolutions with nothing between them are one: V (W x + b) + c = (V W) x + (V b + c).

    Done where that is fewer multiply-adds and nothing else needs the value between. MobileNet-v2's last block ends in
    such a convolution, of 960 to 320 channels without activation, and an adapter takes its 320 to C.
    """
    outer, source = node.op, node.inputs[0] if node.inputs else ""
    if not isinstance(outer, ir.Conv) or not outer.pointwise or outer.groups != 1 or uses[source] != 1:
        return None
    inner = build.op(source)
    if not isinstance(inner, ir.Conv) or not inner.pointwise or inner.groups != 1:
        return None
    v, w = (conv.weight[:, :, 0, 0].astype(np.float64) for conv in (outer, inner))
    product = (v @ w).astype(np.float32)
    if product.size >= v.size + w.size:
        return None
    bias = (v @ inner.bias + outer.bias).astype(np.float32)
    merged = replace(outer, weight=product[:, :, None, None], bias=bias)
    return build.add(merged, build.source(source), name=name)


@_every_node
def flatten_sums(build: Builder, name: str, node: Node, uses: Counter[str]) -> str | None:
    """A sum of sums is one sum, where nothing else reads the inner one; addition is associative."""
    if not isinstance(node.op, ir.Add):
        return None
    terms: list[str] = []
    for source in node.inputs:
        inner = isinstance(build.op(source), ir.Add) and uses[source] == 1
        terms += build.nodes[source].inputs if inner else [source]
    return build.add(ir.Add(), *terms, name=name)


@_every_node
def order_sums(build: Builder, name: str, node: Node, uses: Counter[str]) -> str | None:
    """The terms of a sum in the order in which ONNX Runtime adds them with the least work; addition is commutative.

    - Last a convolution without activation: what was added before and the activation that follows are fused into it.
    - Single pixels and what `SpreadConv` made, which is laid out otherwise in memory than what convolutions make, in a
      sum of their own: only their total is then laid out anew, not every term after them.
    """
    if not isinstance(node.op, ir.Add):
        return None

    def spread(value: str) -> bool:
        op = build.op(value)
        return isinstance(op, ir.SpreadConv) or (isinstance(op, ir.Activation) and spread(build.source(value)))

    pixels = [value for value in node.inputs if build.shapes[value].stride == ir.PIXEL]
    apart = [value for value in node.inputs if spread(value)]
    terms = [value for value in node.inputs if value not in (*pixels, *apart)]
    fused = [value for value in terms if isinstance(build.op(value), ir.Conv)][:1]
    for value in fused:  # once, should it be added to itself
        terms.remove(value)
    if apart and len(apart + pixels) > 1 and terms:
        terms.append(build.add(ir.Add(), *apart, *pixels, name=f"{name}/apart"))
    else:
        terms += apart + pixels
    return build.add(ir.Add(), *terms, *fused, name=name)


REWRITES: tuple[Callable[[Graph], Graph], ...] = (
    fold_batch_norms,
    sink_spreads,
    merge_linear_convolutions,
    split_concat,
    sink_spreads,  # of the parts just split off
    convolve_before_resize,
    flatten_sums,
    order_sums,
)
"""In the order in which they are applied."""


@dataclass(frozen=True)
class Effect:
    """The effect of a rewrite: operators and multiply-adds (for one 512x512 image) before and after."""

    rewrite: str
    operators: tuple[int, int]
    multiply_adds: tuple[int, int]


def optimise(graph: Graph) -> tuple[Graph, tuple[Effect, ...]]:
    """Apply all rewrites; returns the graph and the effect of each."""
    effects = []
    for apply in REWRITES:
        after = apply(graph)
        effects.append(
            Effect(
                apply.__name__,
                (len(graph.nodes), len(after.nodes)),
                (graph.multiply_adds(512, 512), after.multiply_adds(512, 512)),
            )
        )
        graph = after
    return graph, tuple(effects)
