"""A small line plot as SVG: a board has no matplotlib, and the report must look the same everywhere."""

import math
from typing import Dict, List, Tuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 50, 60
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""

Line = List[Tuple[float, float, float]]


def line_plot(lines: Dict[str, Line], title: str, x_name: str, y_name: str) -> str:
    """Points (x, mean, std) by name, joined, with bars of one std; both axes start at 0."""
    points = [point for line in lines.values() for point in line]
    x_top, x_step = _axis(max(x for x, _, _ in points))
    y_top, y_step = _axis(max(mean + std for _, mean, std in points))

    def place(x: float, y: float) -> Tuple[float, float]:
        inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + inner_width * x / x_top, HEIGHT - BOTTOM - inner_height * min(max(y, 0.0), y_top) / y_top

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="12">'.format(
            WIDTH, HEIGHT
        ),
        '<rect width="100%" height="100%" fill="white"/>',
        _text(LEFT, 24, title, size=14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_name, anchor="middle"),
        _text(LEFT - 50, TOP - 12, y_name),
    ]
    for value in _ticks(x_top, x_step):
        x, y = place(value, 0)
        parts += [_line(x, y, x, TOP, "#e4e4e4"), _text(x, y + 18, "{:g}".format(value), anchor="middle")]
    for value in _ticks(y_top, y_step):
        x, y = place(0, value)
        parts += [_line(x, y, WIDTH - RIGHT, y, "#e4e4e4"), _text(x - 8, y + 4, "{:g}".format(value), anchor="end")]
    for index, (name, line) in enumerate(lines.items()):
        colour, places = COLOURS[index % len(COLOURS)], []
        for x, mean, std in sorted(line):
            centre, low, high = place(x, mean), place(x, mean - std), place(x, mean + std)
            places.append("{:.1f},{:.1f}".format(*centre))
            parts.append(_line(low[0], low[1], high[0], high[1], colour))
            parts.append('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>'.format(centre[0], centre[1], colour))
        parts.append('<polyline fill="none" stroke="{}" points="{}"/>'.format(colour, " ".join(places)))
        parts.append(_text(WIDTH - RIGHT + 16, TOP + 20 * index, name, colour=colour))
    return "\n".join(parts + ["</svg>\n"])


def _axis(highest: float) -> Tuple[float, float]:
    """Where an axis ends and the step of its marks: 1, 2 or 5 times a power of ten, four to ten marks."""
    highest = highest if highest > 0 else 1.0
    magnitude = 10.0 ** math.floor(math.log10(highest))
    step = next(step for step in (magnitude / 5, magnitude / 2, magnitude) if highest / step <= 10)
    return math.ceil(highest / step) * step, step


def _ticks(top: float, step: float) -> List[float]:
    return [index * step for index in range(int(round(top / step)) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    form = '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>'
    return form.format(x1, y1, x2, y2, colour)


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12, colour: str = "#222") -> str:
    form = '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="{}" fill="{}">{}</text>'
    return form.format(x, y, anchor, size, colour, escape(text))
