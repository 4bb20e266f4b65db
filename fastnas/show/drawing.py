"""A drawing of a genotype, after the paper's Figs 10-12: the connections, and the cell on each of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from fastnas.jetson.files import atomic_path
from fastnas.models.cell_plan import collected_sums, plan_cell
from fastnas.models.genotype import ENCODER_OUTPUTS, Genotype
from fastnas.models.operations import OPERATIONS
from fastnas.show.graph_layout import Point, layered

ENCODER, SUM, OUTPUT = "#d5e8f7", "#ffffff", "#e4e4e4"
OPERATION_COLOURS = {"conv": "#f9d9b8", "sep": "#d3ecd0", "gap": "#ead7f0", "skip": "#ffffff", "zero": "#f4f4f4"}
ADDED_COLOUR = "#d6e6f5"  # of operations that a program added
PAIR_COLOURS = ("#c0392b", "#2471a3", "#1e8449")  # of the arrows into sums 4, 5 and 6
INK, FAINT = "#333333", "#bbbbbb"
AXES_SIZE = (10.8, 3.5)  # inches of each half of the drawing, at least
WIDTH, HEIGHT = 0.6, 0.7  # of a box, in columns and rows
END = -1  # the box of the output


@dataclass(frozen=True)
class Box:
    """A node: its text and colour; a `faint` one is named by the genotype, but not computed."""

    label: str
    colour: str
    faint: bool = False


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by their indices."""

    source: int
    target: int
    colour: str


def draw(genotype: Genotype, title: str, strides: Sequence[int] = (4, 8, 16, 32)) -> Figure:
    """The connections above, the cell below; `strides` of the encoder's outputs go into their labels."""
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    figure.suptitle(title, fontsize=15, fontweight="bold")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.25))
    _draw_connections(above, genotype, strides)
    _draw_cell(below, genotype)
    return figure


def encode(figure: Figure, kind: str) -> bytes:
    """A figure as a file of a format of matplotlib, such as `svg` or `png`; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "fastnas"}):  # instead of random ids
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {})
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix of `path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode(figure, path.suffix.lstrip(".")))


def svg_url(figure: Figure) -> str:
    """A figure as SVG in a data URL, the source of an HTML image."""
    return f"data:image/svg+xml;base64,{base64.b64encode(encode(figure, 'svg')).decode()}"


def _draw_connections(axes: Axes, genotype: Genotype, strides: Sequence[int]) -> None:
    arrows = []
    for target, (pair, colour) in enumerate(zip(genotype.connections, PAIR_COLOURS, strict=True), ENCODER_OUTPUTS):
        arrows += [Arrow(source, target, colour) for source in pair]
    arrows += [Arrow(source, END, INK) for source in collected_sums(genotype.connections)]
    read = {arrow.source for arrow in arrows}
    boxes = {i: Box(f"encoder {i}\nstride {stride}", ENCODER, i not in read) for i, stride in enumerate(strides)}
    boxes |= {arrow.target: Box(f"{arrow.target}: +", SUM) for arrow in arrows if arrow.target != END}
    boxes[END] = Box("concatenate\nconv1x1\nconv3x3", OUTPUT)
    axes.set_title("Connections: every coloured arrow is the cell and a 1x1 convolution", fontsize=11, loc="left")
    _draw_graph(axes, boxes, arrows)


def _draw_cell(axes: Axes, genotype: Genotype) -> None:
    plan = plan_cell(genotype.cell)
    computed = {(source, step.target) for step in plan.steps for source in step.sources}
    computed |= {(source, END) for source in plan.outputs}
    boxes = {0: Box("0: input", ENCODER)}
    edges = []
    for step in plan.named:
        name, colour = "+", SUM
        if step.operation is not None:
            name = OPERATIONS[step.operation]
            families = (colour for family, colour in OPERATION_COLOURS.items() if name.startswith(family))
            colour = next(families, ADDED_COLOUR)
        label = f"{step.target}: {name}".replace(" rate", "\nrate")
        boxes[step.target] = Box(label, colour, faint=step.target not in plan.computed)
        edges += [(source, step.target) for source in step.sources]
    edges += [(source, END) for source in plan.collected]
    boxes[END] = Box("output: +", OUTPUT)
    title = "Cell (grey: zero, or fed by it; not computed)" if any(box.faint for box in boxes.values()) else "Cell"
    axes.set_title(title, fontsize=11, loc="left")
    _draw_graph(axes, boxes, [Arrow(*edge, INK if edge in computed else FAINT) for edge in edges])


def _draw_graph(axes: Axes, boxes: dict[int, Box], arrows: Sequence[Arrow]) -> None:
    edges = [(arrow.source, arrow.target) for arrow in arrows]
    centres, paths = layered(list(boxes), edges)
    xs, ys = zip(*centres.values(), *(point for path in paths for point in path), strict=True)
    axes.set_xlim(min(xs) - 0.4, max(xs) + 0.4)
    axes.set_ylim(min(ys) - 0.6, max(ys) + 0.6)
    axes.set_axis_off()
    size = _font_size(
        [box.label for box in boxes.values()], WIDTH / (max(xs) + 0.8), HEIGHT / (max(ys) - min(ys) + 1.2)
    )
    for i, (arrow, (start, *waypoints, end)) in enumerate(zip(arrows, paths, strict=True)):
        shift = 0.16 * edges[:i].count(edges[i])  # a pair that reads one index twice has two arrows
        points = [(start[0] + WIDTH / 2, start[1] - shift), *waypoints, (end[0] - WIDTH / 2, end[1] - shift)]
        style = "--" if arrow.colour == FAINT else "-"
        axes.add_patch(
            FancyArrowPatch(
                path=_curve(points), arrowstyle="-|>", mutation_scale=11, color=arrow.colour, linestyle=style,
                linewidth=1.3,
            )
        )  # fmt: skip
    for index, box in boxes.items():
        x, y = centres[index]
        ink = FAINT if box.faint else INK
        axes.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1",
                facecolor=SUM if box.faint else box.colour, edgecolor=ink, linewidth=1.1, zorder=2,
            )
        )  # fmt: skip
        axes.text(x, y, box.label, ha="center", va="center", fontsize=size, color=ink, zorder=3)


def _font_size(labels: list[str], width: float, height: float) -> float:
    """Points, at most 9, at which every label fits a box of these shares of the axes' width and height."""
    longest = max(len(line) for label in labels for line in label.split("\n"))
    lines = max(label.count("\n") + 1 for label in labels)
    return min(9.0, AXES_SIZE[0] * 72 * width / (longest * 0.65), AXES_SIZE[1] * 72 * height / (lines * 1.3))


def _curve(points: list[Point]) -> Curve:
    """A smooth line through the points that leaves and arrives level."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        vertices += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    return Curve(vertices, codes)
