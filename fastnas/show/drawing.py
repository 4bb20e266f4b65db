"""A genotype as a picture, in the spirit of the paper's Figs 10-12: the connections, and the cell on each of them."""

from __future__ import annotations

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

ENCODER, SUM, END = "#d5e8f7", "#ffffff", "#e4e4e4"
OPERATION_COLOURS = {"conv": "#f9d9b8", "sep": "#d3ecd0", "gap": "#ead7f0", "skip": "#ffffff", "zero": "#f4f4f4"}
OWN_COLOUR = "#d6e6f5"  # of operations that a program added
INK, FAINT = "#333333", "#bbbbbb"
PICTURE = (10.8, 3.5)  # inches of each of the two pictures, at least
ARROW_COLOURS = ("#c0392b", "#2471a3", "#1e8449")  # the pairs that make sums 4, 5 and 6


@dataclass(frozen=True)
class Box:
    """A node of a picture; `faint` is for what the genotype names but the network does not compute."""

    label: str
    colour: str
    faint: bool = False


def draw(genotype: Genotype, title: str, strides: tuple[int, ...] = (4, 8, 16, 32)) -> Figure:
    """The connections above, the cell below.

    Args:
        genotype: what to draw.
        title: stands on top.
        strides: of the encoder's outputs, for their labels.
    """
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    figure.suptitle(title, fontsize=15, fontweight="bold")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.25))
    _draw_connections(above, genotype, strides)
    _draw_cell(below, genotype)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the ending decides between SVG, PNG and what else matplotlib has."""
    with atomic_path(path) as temporary:
        # No date and no random ids in the file: the same genotype gives the same bytes.
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        with rc_context({"svg.hashsalt": "fastnas"}):
            figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=150, metadata=metadata)


def _draw_connections(axes: Axes, genotype: Genotype, strides: tuple[int, ...]) -> None:
    boxes = {f"{i}": Box(f"encoder {i}\nstride {stride}", ENCODER) for i, stride in enumerate(strides)}
    boxes |= {f"{ENCODER_OUTPUTS + k}": Box(f"{ENCODER_OUTPUTS + k}: +", SUM) for k in range(len(genotype.connections))}
    boxes["end"] = Box("concatenate\nconv1x1\nconv3x3", END)
    edges, colours = [], []
    for k, pair in enumerate(genotype.connections):
        for member in pair:
            edges.append((str(member), str(ENCODER_OUTPUTS + k)))
            colours.append(ARROW_COLOURS[k])
    for index in collected_sums(genotype.connections):
        edges.append((str(index), "end"))
        colours.append(INK)
    drawn = {a for a, _ in edges}
    boxes = {name: Box(b.label, b.colour, name != "end" and name not in drawn) for name, b in boxes.items()}
    axes.set_title("Connections: every coloured arrow is the cell and a 1x1 convolution", fontsize=11, loc="left")
    _draw_graph(axes, boxes, edges, colours)


def _draw_cell(axes: Axes, genotype: Genotype) -> None:
    first, *branches = genotype.cell
    plan = plan_cell(genotype.cell)
    live = {0, *(step.target for step in plan.steps)}
    boxes = {"0": Box("0: input", ENCODER), "1": _operation_box(1, first, 1 in live)}
    edges = [("0", "1")]
    for k, (p, q, a, b) in enumerate(branches, start=1):
        u, v, w = 3 * k - 1, 3 * k, 3 * k + 1
        boxes[str(u)] = _operation_box(u, a, u in live)
        boxes[str(v)] = _operation_box(v, b, v in live)
        boxes[str(w)] = Box(f"{w}: +", SUM, w not in live)
        edges += [(str(p), str(u)), (str(q), str(v)), (str(u), str(w)), (str(v), str(w))]
    drawn = {index for branch in branches for index in branch[:2]}
    boxes["end"] = Box("output: +", END)
    edges += [(str(index), "end") for index in (1, 4, 7, 10) if index not in drawn]
    read = {(str(source), str(step.target)) for step in plan.steps for source in step.sources}
    read |= {(str(target), "end") for target in plan.outputs}
    colours = [INK if edge in read else FAINT for edge in edges]
    title = "Cell" if all(not box.faint for box in boxes.values()) else "Cell (grey: zero, or fed by it; not computed)"
    axes.set_title(title, fontsize=11, loc="left")
    _draw_graph(axes, boxes, edges, colours)


def _operation_box(index: int, operation: int, live: bool) -> Box:
    name = OPERATIONS[operation]
    colour = next((colour for family, colour in OPERATION_COLOURS.items() if name.startswith(family)), OWN_COLOUR)
    return Box(f"{index}: {name.replace(' rate', chr(10) + 'rate')}", colour, not live)


def _draw_graph(axes: Axes, boxes: dict[str, Box], edges: list[tuple[str, str]], colours: list[str]) -> None:
    layout = layered(list(boxes), edges)
    xs, ys = zip(*layout.nodes.values(), *(point for path in layout.paths for point in path), strict=True)
    axes.set_xlim(min(xs) - 0.4, max(xs) + 0.4)
    axes.set_ylim(min(ys) - 0.6, max(ys) + 0.6)
    axes.set_axis_off()
    width, height = 0.6, 0.7
    size = _font_size(
        [box.label for box in boxes.values()], width / (max(xs) + 0.8), height / (max(ys) - min(ys) + 1.2)
    )
    seen: dict[tuple[str, str], int] = {}
    for edge, path, colour in zip(edges, layout.paths, colours, strict=True):
        shift = 0.16 * seen.get(edge, 0)  # a pair that draws one index twice has two arrows
        seen[edge] = seen.get(edge, 0) + 1
        start, *middle, end = path
        points = [(start[0] + width / 2, start[1] - shift), *middle, (end[0] - width / 2, end[1] - shift)]
        style = "--" if colour == FAINT else "-"
        arrow = FancyArrowPatch(
            path=_curve(points), arrowstyle="-|>", mutation_scale=11, color=colour, linestyle=style, linewidth=1.3
        )
        axes.add_patch(arrow)
    for name, box in boxes.items():
        x, y = layout.nodes[name]
        ink = FAINT if box.faint else INK
        axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.1",
                facecolor=SUM if box.faint else box.colour, edgecolor=ink, linewidth=1.1, zorder=2,
            )
        )  # fmt: skip
        axes.text(x, y, box.label, ha="center", va="center", fontsize=size, color=ink, zorder=3)


def _font_size(labels: list[str], width: float, height: float) -> float:
    """Points, at most 9, at which every label fits a box of these shares of a picture's width and height."""
    longest = max(len(line) for label in labels for line in label.split("\n"))
    lines = max(label.count("\n") + 1 for label in labels)
    return min(9.0, PICTURE[0] * 72 * width / (longest * 0.65), PICTURE[1] * 72 * height / (lines * 1.3))


def _curve(points: list[Point]) -> Curve:
    """A smooth line through the points that leaves and arrives level."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        vertices += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    return Curve(vertices, codes)
