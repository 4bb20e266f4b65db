"""Where to put the boxes of a small directed graph: in columns, so that every arrow points right.

The method is Sugiyama's: longest-path columns, one invisible point where an arrow passes a column, and sweeps that
order each column by the mean of its neighbours (K. Sugiyama et al., "Methods for Visual Understanding of Hierarchical
System Structures", 1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]
Place: TypeAlias = "str | tuple[int, int]"  # a node, or the point where edge i passes column c

SWEEPS = 24


@dataclass(frozen=True)
class Layout:
    """Positions in units of columns (x, to the right) and rows (y, upwards).

    Attributes:
        nodes: name -> centre.
        paths: for each edge, the points that it goes through, both ends included.
    """

    nodes: dict[str, Point]
    paths: list[list[Point]]


def layered(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layout:
    """Lay out an acyclic graph; `nodes` are in an order in which every edge goes forward."""
    column = dict.fromkeys(nodes, 0)
    for node in nodes:
        column[node] = max((column[a] + 1 for a, b in edges if b == node), default=0)
    chains: list[list[Place]] = []
    for i, (a, b) in enumerate(edges):
        chains.append([a, *((i, c) for c in range(column[a] + 1, column[b])), b])
    columns: list[list[Place]] = [[] for _ in range(max(column.values()) + 1)]
    for node in nodes:
        columns[column[node]].append(node)
    for i, c in (place for chain in chains for place in chain if isinstance(place, tuple)):
        columns[c].append((i, c))

    links = [link for chain in chains for link in pairwise(chain)]
    y = {place: _row(i, len(places)) for places in columns for i, place in enumerate(places)}
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for places in columns if forward else reversed(columns):
            wanted = {}
            for place in places:
                near = [y[a] if forward else y[b] for a, b in links if (b if forward else a) == place]
                wanted[place] = sum(near) / len(near) if near else y[place]
            places.sort(key=lambda place: -wanted[place])
            y.update({place: _row(i, len(places)) for i, place in enumerate(places)})
    x = {place: float(c) for c, places in enumerate(columns) for place in places}
    return Layout(
        nodes={node: (x[node], y[node]) for node in nodes},
        paths=[[(x[place], y[place]) for place in chain] for chain in chains],
    )


def _row(i: int, count: int) -> float:
    """Rows are one apart and centred on 0, the first on top."""
    return (count - 1) / 2 - i
