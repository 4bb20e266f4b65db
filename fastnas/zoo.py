"""Architectures with a name."""

from __future__ import annotations

from fastnas.genotype import Genotype

PAPER = {
    "arch0": "[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]",
    "arch1": "[[[2, 3], [3, 1], [4, 4]], [2, [1, 0, 3, 6], [0, 1, 2, 8], [2, 0, 6, 1]]]",
    "arch2": "[[[1, 3], [4, 3], [2, 2]], [5, [0, 0, 4, 1], [3, 2, 0, 1], [5, 6, 5, 0]]]",
}
"""The paper's three (Figs 10-12)."""

FOUND = {"camvid0": "[[[2, 0], [0, 2], [1, 0]], [5, [0, 0, 2, 0], [2, 2, 1, 3], [2, 3, 6, 6]]]"}
"""Ours: the best of 160 candidates on CamVid, where nothing limited what a network costs (docs/results.md)."""

ZOO: dict[str, Genotype] = {name: Genotype.parse(text) for name, text in (PAPER | FOUND).items()}
"""Name -> genotype."""
