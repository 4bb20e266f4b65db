"""Coordinates for the boxes and arrows of a small directed graph: in columns, so that every arrow points right.

The method is Sugiyama's: columns by the longest path, a waypoint where an arrow passes a column, and sweeps that order
each column by the mean row of its neighbours (K. Sugiyama et al., "Methods for Visual Understanding of Hierarchical
System Structures", 1981).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]
Place = int | tuple[int, int]  # a node, or the waypoint of edge i in column c
SWEEPS = 24


def layered(nodes: Sequence[int], edges: Sequence[tuple[int, int]]) -> tuple[dict[int, Point], list[list[Point]]]:
    """Lay out an acyclic graph; `nodes` are in an order in which every edge goes forward.

    Returns:
        The centre of each node and the points that each edge passes, its ends included; x in columns to the right, y in
        rows upwards, each column centred on 0.
    """
    column: dict[Place, int] = {}
    for node in nodes:
        column[node] = max((column[a] + 1 for a, b in edges if b == node), default=0)
    paths: list[list[Place]] = []
    for i, (a, b) in enumerate(edges):
        waypoints = {(i, c): c for c in range(column[a] + 1, column[b])}
        column |= waypoints
        paths.append([a, *waypoints, b])

    columns: list[list[Place]] = [[] for _ in range(max(column.values()) + 1)]
    for place, c in column.items():
        columns[c].append(place)
    left: defaultdict[Place, list[Place]] = defaultdict(list)
    right: defaultdict[Place, list[Place]] = defaultdict(list)
    for here, there in (link for path in paths for link in pairwise(path)):
        right[here].append(there)
        left[there].append(here)
    row: dict[Place, float] = {}
    for places in columns:
        row |= _rows(places)
    for sweep in range(SWEEPS):
        for places in reversed(columns) if sweep % 2 else columns:
            near = {place: (right if sweep % 2 else left)[place] or [place] for place in places}
            mean = {place: sum(row[each] for each in near[place]) / len(near[place]) for place in places}
            places.sort(key=lambda place: -mean[place])
            row |= _rows(places)
    return {node: (column[node], row[node]) for node in nodes}, [[(column[p], row[p]) for p in path] for path in paths]


def _rows(places: Sequence[Place]) -> dict[Place, float]:
    """Rows one apart and centred on 0, the first place on top."""
    return {place: (len(places) - 1) / 2 - i for i, place in enumerate(places)}
