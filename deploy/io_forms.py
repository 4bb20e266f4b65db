"""Input and output of an artifact's graph: bytes or normalised floats in; logits, labels or peaks out.

These steps change what is computed; the rewrites (`fastnas.deploy.graph.rewrites`) do not.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np

from fastnas.deploy.graph.ir import Affine, ArgMax, Builder, Bytes, Graph, Input, Node, Peaks, Resize, rewrite
from fastnas.jetson.inference.decode import peak_step

Layout = Literal["NCHW", "NHWC"]
Head = Literal["plain", "upsampled", "labels", "peaks"]


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


def give(graph: Graph, head: Head, layout: Layout = "NCHW") -> Graph:
    """The graph with its output upsampled to the image's size, or turned into labels [1, H, W] of that size.

    Upsampling and arg-max are much faster in ONNX Runtime with a pixel's channels side by side. TensorRT 8 is not known
    to resize that way, so it is done where bytes as input (`NHWC`) leave out TensorRT anyway.

    Peaks, one for each channel, are found in the output as it is: the decoder works between cells.
    """
    if head == "plain":
        return graph
    build = Builder()
    for name, node in graph.nodes.items():
        build.add(node.op, *node.inputs, name=name)
    output, stride = graph.output, graph.shapes[graph.output].stride
    if head == "peaks":
        return Graph(build.nodes, build.add(Peaks(peak_step(stride)), output, name="joints"))
    if head == "labels" and layout == "NHWC":
        return Graph(build.nodes, build.add(ArgMax(stride), output, name="labels"))
    if stride > 1:
        output = build.add(Resize(stride), output, name="upsampled")
    if head == "labels":
        output = build.add(ArgMax(), output, name="labels")
    return Graph(build.nodes, output)
