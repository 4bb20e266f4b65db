"""The peaks of heatmaps as ONNX operators that TensorRT 8.0 parses.

They give what `fastnas.jetson.inference.decode.joints` finds outside.

Shapes: J joints, h and w the heatmaps' size, which stays open.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from fastnas.deploy.onnx.nodes import Nodes

PREFIX = "peaks/"
"""Of the names of all operators here."""

_X, _Y = 3, 2
"""The axes."""


def write_peaks(nodes: Nodes, heatmaps: str, joints: int, out: str) -> None:
    """[1, J, h, w] -> [1, J, 3]: x and y in cells, moved a quarter towards the higher neighbour, and the height.

    The first row with a peak, then the first peak in that row: the same as the first of all cells in reading order.
    Cells and quarters are exact in fp16 up to 512 cells; pixels would not be, so whoever reads them applies the stride.
    """
    rows = nodes.reduce_max(heatmaps, [_X], f"{PREFIX}rows")
    y = _first_largest(nodes, rows, _Y, "y")
    row = _line(nodes, heatmaps, y, _Y, "row")
    x = _first_largest(nodes, row, _X, "x")
    column = _line(nodes, heatmaps, x, _X, "column")
    places = [
        _between_cells(nodes, line, index, axis, joints, name)
        for line, index, axis, name in ((row, x, _X, "x"), (column, y, _Y, "y"))
    ]
    height = nodes.emit("GatherElements", [row, x], f"{PREFIX}height", axis=_X)
    together = nodes.emit("Concat", [*places, height], f"{PREFIX}together", axis=3)
    shape = nodes.constant(f"{PREFIX}shape", np.array([1, joints, 3], np.int64))
    nodes.emit("Reshape", [together, shape], out)


def _first_largest(nodes: Nodes, x: str, axis: int, name: str) -> str:
    """The index of the largest value along an axis, as 32-bit integers, its size there 1."""
    index = nodes.emit("ArgMax", [x], f"{PREFIX}{name}/index", axis=axis, keepdims=1)
    return nodes.emit("Cast", [index], f"{PREFIX}{name}", to=TensorProto.INT32)


def _line(nodes: Nodes, heatmaps: str, index: str, axis: int, name: str) -> str:
    """Of each heatmap the row (axis 2) or column (axis 3) of an index [1, J, 1, 1]: [1, J, 1, w] or [1, J, h, 1]."""
    zeros = _known(nodes, heatmaps, axis, 0)
    zeros = nodes.emit("Cast", [zeros], f"{PREFIX}{name}/zeros", to=TensorProto.INT32)
    everywhere = nodes.emit("Add", [index, zeros], f"{PREFIX}{name}/index")
    return nodes.emit("GatherElements", [heatmaps, everywhere], f"{PREFIX}{name}", axis=axis)


def _known(nodes: Nodes, heatmaps: str, axis: int, value: int) -> str:
    """A number along the other axis than `axis`: [1, 1, 1, w] for axis 2, [1, 1, h, 1] for axis 3."""
    name = f"{PREFIX}size{axis}"
    if name not in nodes.written:
        nodes.reduce_max(heatmaps, [1, axis], name)
    bound = nodes.constant(f"clip/{value}", np.array(value, np.float32))
    return nodes.emit("Clip", [name, bound, bound], f"{name}/{value}")


def _between_cells(nodes: Nodes, line: str, index: str, axis: int, joints: int, name: str) -> str:
    """The index along a line as a number, a quarter nearer to the higher of its two neighbours; an end stays."""
    kernel = (1, 3) if axis == _X else (3, 1)
    pads = [0, 1] * 2 if axis == _X else [1, 0] * 2

    def convolve(x: str, taps: tuple[float, ...], bias: float, groups: int, made: str) -> str:
        weight = np.tile(np.array(taps, np.float32).reshape(1, 1, *kernel), (groups, 1, 1, 1))
        inputs = [nodes.constant(f"{PREFIX}{name}/{made}/weight", weight)]
        if bias:
            inputs.append(nodes.constant(f"{PREFIX}{name}/{made}/bias", np.full(groups, bias, np.float32)))
        attributes = {"kernel_shape": list(kernel), "pads": pads, "group": groups}
        return nodes.emit("Conv", [x, *inputs], f"{PREFIX}{name}/{made}", **attributes)

    rise = convolve(line, (-1, 0, 1), 0, joints, "rise")
    zero = nodes.constant("clip/0", np.array(0, np.float32))
    signs = []
    for kind in ("Greater", "Less"):
        met = nodes.emit(kind, [rise, zero], f"{PREFIX}{name}/{kind.lower()}")
        signs.append(nodes.emit("Cast", [met], f"{PREFIX}{name}/{kind.lower()}/number", to=TensorProto.FLOAT))
    sign = nodes.emit("Sub", signs, f"{PREFIX}{name}/sign")
    # A quarter inside, where there are two neighbours, and nothing at the ends.
    quarter = convolve(_known(nodes, line, 5 - axis, 1), (0.25, 0, 0.25), -0.25, 1, "neighbours")
    quarter = nodes.emit("Relu", [quarter], f"{PREFIX}{name}/quarter")
    moves = nodes.emit("Mul", [sign, quarter], f"{PREFIX}{name}/moves")
    move = nodes.emit("GatherElements", [moves, index], f"{PREFIX}{name}/move", axis=axis)
    cell = nodes.emit("Cast", [index], f"{PREFIX}{name}/cell", to=TensorProto.FLOAT)
    return nodes.emit("Add", [cell, move], f"{PREFIX}{name}/place")
