"""The decoder of heatmaps as ONNX operators that TensorRT 8.0 parses.

They compute what `fastnas.jetson.inference.decode.joints` does, but for the stride.

Shapes: J joints, h and w the heatmaps' size, which stays open.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from fastnas.deploy.onnx.nodes import Nodes
from fastnas.jetson.inference.decode import FLATTEST, LOWEST

PREFIX = "peaks/"
"""Of the names of all operators here."""

_X, _Y = 3, 2
"""The axes."""

_LARGEST = 65504.0
"""A bound that is never met, but finite in fp16 too: Clip wants one."""


def write_peaks(nodes: Nodes, heatmaps: str, joints: int, step: int, out: str) -> None:
    """[1, J, h, w] -> [1, J, 3]: x and y in cells, between cells by the parabola, and the value of the highest cell.

    The first row with a peak, then the first peak in that row: the same as the first of all cells in reading order.
    Typed fp16 files keep these operators in float32: beyond 64 cells fp16 would round places to 1/16 of a cell.

    Args:
        nodes: where the operators go.
        heatmaps: name of the value.
        joints: J.
        step: cells between the three points of a parabola, see `decode.peak_step`.
        out: name of the result.
    """
    rows = nodes.reduce_max(heatmaps, [_X], f"{PREFIX}rows")
    y = _first_largest(nodes, rows, _Y, "y")
    row = _line(nodes, heatmaps, y, _Y, "row")
    x = _first_largest(nodes, row, _X, "x")
    column = _line(nodes, heatmaps, x, _X, "column")
    places = [
        _between_cells(nodes, line, index, axis, joints, step, name)
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


def _between_cells(nodes: Nodes, line: str, index: str, axis: int, joints: int, step: int, name: str) -> str:
    """The index along a line as a number, moved to the top of the parabola through the logarithms; not at the ends."""
    length = 2 * step + 1
    kernel = (1, length) if axis == _X else (length, 1)
    pads = [0, step] * 2 if axis == _X else [step, 0] * 2

    def combine(x: str, taps: tuple[float, float, float], bias: float, groups: int, made: str) -> str:
        """Each value with those `step` before and after it, as a convolution."""
        made = f"{PREFIX}{name}/{made}"
        weight = np.zeros((groups, 1, length), np.float32)
        weight[..., ::step] = taps
        inputs = [nodes.constant(f"{made}/weight", weight.reshape(groups, 1, *kernel))]
        if bias:
            inputs.append(nodes.constant(f"{made}/bias", np.full(groups, bias, np.float32)))
        return nodes.emit("Conv", [x, *inputs], made, kernel_shape=list(kernel), pads=pads, group=groups)

    def at_least(x: str, least: float, made: str) -> str:
        bounds = [nodes.constant(f"clip/{value:g}", np.array(value, np.float32)) for value in (least, _LARGEST)]
        return nodes.emit("Clip", [x, *bounds], f"{PREFIX}{name}/{made}")

    logs = nodes.emit("Log", [at_least(line, LOWEST, "positive")], f"{PREFIX}{name}/logs")
    rise = combine(logs, (-step / 2, 0, step / 2), 0, joints, "rise")
    curvature = at_least(combine(logs, (-1, 2, -1), 0, joints, "curvature"), FLATTEST, "curved")
    top = nodes.emit("Div", [rise, curvature], f"{PREFIX}{name}/top")
    # One where both points are inside the map, and zero elsewhere.
    inside = combine(_known(nodes, line, 5 - axis, 1), (1, 0, 1), -1, 1, "neighbours")
    inside = nodes.emit("Relu", [inside], f"{PREFIX}{name}/inside")
    moves = nodes.emit("Mul", [top, inside], f"{PREFIX}{name}/moves")
    move = nodes.emit("GatherElements", [moves, index], f"{PREFIX}{name}/move", axis=axis)
    cell = nodes.emit("Cast", [index], f"{PREFIX}{name}/cell", to=TensorProto.FLOAT)
    return nodes.emit("Add", [cell, move], f"{PREFIX}{name}/place")
