"""Drawings: every arrow points right, every operation is named, nothing lies on anything else."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fastnas.models.cell_plan import plan_cell
from fastnas.models.genotype import Genotype
from fastnas.models.operations import OPERATIONS
from fastnas.models.zoo import ZOO
from fastnas.show.drawing import draw
from fastnas.show.graph_layout import layered
from tests.helpers.strategies import genotypes


@given(genotypes)
@settings(max_examples=50, deadline=None)
def test_arrows_point_right_and_boxes_do_not_overlap(genotype: Genotype) -> None:
    edges = [(source, step.target) for step in plan_cell(genotype.cell).named for source in step.sources]
    centres, paths = layered(range(11), edges)
    for (a, b), path in zip(edges, paths, strict=True):
        assert (path[0], path[-1]) == (centres[a], centres[b])
        assert all(p[0] + 1 == q[0] for p, q in itertools.pairwise(path))
    passing = [point for path in paths for point in path[1:-1]]
    places = [*centres.values(), *passing]
    for (x0, y0), (x1, y1) in itertools.combinations(places, 2):
        assert x0 != x1 or abs(y0 - y1) >= 1


DEEP = "[[[0,1],[4,4],[5,5]], [6, [1,1,6,8], [4,4,6,8], [7,7,8,6]]]"
WIDE = "[[[0,1],[2,3],[0,3]], [6, [0,0,6,8], [0,0,6,8], [0,0,8,6]]]"


@pytest.mark.parametrize("text", [*map(str, ZOO.values()), DEEP, WIDE])
def test_every_operation_is_named_inside_its_box(text: str) -> None:
    genotype = Genotype.parse(text)
    figure = draw(genotype, "a title")
    FigureCanvasAgg(figure).draw()
    labels = [text for axes in figure.axes for text in axes.texts]
    written = " ".join(label.get_text().replace("\n", " ") for label in labels)
    for operation in (genotype.cell[0], *(o for branch in genotype.branches for o in branch[2:])):
        assert OPERATIONS[operation] in written
    for axes in figure.axes:
        boxes = [patch for patch in axes.patches if hasattr(patch, "get_boxstyle")]
        for label, box in zip(axes.texts, boxes, strict=True):
            inner, outer = label.get_window_extent(), box.get_window_extent()
            assert outer.x0 <= inner.x0
            assert inner.x1 <= outer.x1
            assert outer.y0 <= inner.y0
            assert inner.y1 <= outer.y1
