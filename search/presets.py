"""Presets of search settings: the paper's sizes, its batches for a GPU of 8 GB, and smaller ones for a CPU."""

from __future__ import annotations

from typing import Any

from fastnas.search.settings import SearchSettings

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    # The paper's, in batches that the largest architecture's tensors fit with (benchmarks/search_memory.py).
    "8gb": {"evaluation": {"stage1_batch": 48, "stage2_batch": 12}},
    # Half the paper's crop has a quarter of its pixels. Smaller batches keep the number of steps up.
    "small": {
        "images": 400,
        "evaluation": {
            "stage1_crop": 128, "stage1_short_side": 150, "stage1_batch": 16, "stage1_epochs": 3,
            "stage2_crop": 160, "stage2_short_side": 180, "stage2_batch": 16,
        },
    },
    "tiny": {
        "images": 220,
        "policy": {"learning_rate": 3e-3},  # for the hundred candidates or so of its few minutes
        "evaluation": {
            "channels": 24, "stage1_crop": 96, "stage1_short_side": 96, "stage1_batch": 16, "stage1_epochs": 3,
            "stage2_crop": 96, "stage2_short_side": 96, "stage2_batch": 16,
        },
    },
}  # fmt: skip
"""Name -> what differs from the defaults."""


def preset(name: str) -> SearchSettings:
    """The settings of a preset."""
    return SearchSettings.from_dict(PRESETS[name])
