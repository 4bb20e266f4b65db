"""Architectures with a name: the paper's three (Figs 10-12)."""

from __future__ import annotations

from fastnas.genotype import Genotype

ZOO: dict[str, Genotype] = {
    name: Genotype.parse(text)
    for name, text in {
        "arch0": "[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]",
        "arch1": "[[[2, 3], [3, 1], [4, 4]], [2, [1, 0, 3, 6], [0, 1, 2, 8], [2, 0, 6, 1]]]",
        "arch2": "[[[1, 3], [4, 3], [2, 2]], [5, [0, 0, 4, 1], [3, 2, 0, 1], [5, 6, 5, 0]]]",
    }.items()
}
"""Name -> genotype."""
