"""A dataset divided at random, always in the same way for a seed."""

from __future__ import annotations

import numpy as np

from fastnas.data.base import DenseDataset, Part
from fastnas.errors import FastnasError


def meta_split(dataset: DenseDataset, seed: int = 0, fraction: float = 0.1) -> tuple[Part, Part]:
    """Training data divided into meta-train and meta-val (spec: 90 % and 10 %).

    Args:
        dataset: the whole.
        seed: of the division; the same seed and length give the same parts on every machine.
        fraction: the share of meta-val, between 0 and 1.

    Returns:
        The two parts; each keeps the order of the whole, no sample is in both.

    Raises:
        FastnasError: a fraction outside of 0..1, or a part without a sample.
    """
    train, val = divided(len(dataset), seed, fraction)
    return Part(dataset, train, "meta-train"), Part(dataset, val, "meta-val")


def divided(count: int, seed: int, fraction: float) -> tuple[list[int], list[int]]:
    """`range(count)` as two sorted lists, the second of `round(fraction * count)`."""
    if not 0 < fraction < 1:
        raise FastnasError(f"the share of the second part must lie between 0 and 1, not {fraction}")
    order = np.random.default_rng(seed).permutation(count)
    second = round(fraction * count)
    return sorted(order[second:].tolist()), sorted(order[:second].tolist())
