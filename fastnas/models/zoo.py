"""Named architectures."""

from __future__ import annotations

from fastnas.models.genotype import Genotype

PAPER = {
    "arch0": "[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]",
    "arch1": "[[[2, 3], [3, 1], [4, 4]], [2, [1, 0, 3, 6], [0, 1, 2, 8], [2, 0, 6, 1]]]",
    "arch2": "[[[1, 3], [4, 3], [2, 2]], [5, [0, 0, 4, 1], [3, 2, 0, 1], [5, 6, 5, 0]]]",
}
"""The paper's three (Figs 10-12)."""

FOUND = {
    "camvid0": "[[[2, 0], [0, 2], [1, 0]], [5, [0, 0, 2, 0], [2, 2, 1, 3], [2, 3, 6, 6]]]",
    "camvid1": "[[[2, 0], [3, 2], [1, 0]], [10, [0, 1, 1, 5], [3, 3, 7, 10], [3, 7, 0, 9]]]",
    "camvid2": "[[[2, 3], [2, 4], [2, 1]], [3, [0, 0, 0, 10], [0, 1, 8, 10], [6, 6, 4, 3]]]",
    "camvid3": "[[[2, 2], [3, 1], [3, 3]], [2, [1, 1, 10, 1], [0, 3, 9, 0], [5, 0, 10, 8]]]",
    "camvid4": "[[[2, 3], [1, 1], [3, 3]], [5, [0, 1, 10, 3], [4, 2, 1, 3], [4, 0, 0, 6]]]",
}
"""Found on CamVid (docs/results.md): `camvid0`, the best of 320 candidates; `camvid1`, the best of them that costs less
than arch0; `camvid2`, `camvid3` and `camvid4`, by searches for less latency."""

ZOO: dict[str, Genotype] = {name: Genotype.parse(text) for name, text in (PAPER | FOUND).items()}
"""Name -> genotype."""
