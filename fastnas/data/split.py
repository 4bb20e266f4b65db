"""Random splits of a dataset, the same for the same seed."""

from __future__ import annotations

import numpy as np

from fastnas.data.base import DenseDataset, Subset
from fastnas.errors import FastnasError


def meta_split(dataset: DenseDataset, seed: int = 0, fraction: float = 0.1) -> tuple[Subset, Subset]:
    """Split training data into meta-train and meta-val, by default 90 % and 10 % as in the paper.

    Args:
        dataset: the training data.
        seed: of the split; the same seed and length give the same split on every machine.
        fraction: of meta-val, between 0 and 1.

    Returns:
        meta-train and meta-val, disjoint, each in the order of the dataset.

    Raises:
        FastnasError: a fraction outside of 0..1, or a subset without a sample.
    """
    train, val = split_indices(len(dataset), seed, fraction)
    return Subset(dataset, train, "meta-train"), Subset(dataset, val, "meta-val")


def split_indices(count: int, seed: int, fraction: float) -> tuple[list[int], list[int]]:
    """Two random, sorted lists of indices below `count`, the second of `round(fraction * count)`."""
    if not 0 < fraction < 1:
        raise FastnasError(f"the fraction of the second subset must lie between 0 and 1, not {fraction}")
    order = np.random.default_rng(seed).permutation(count)
    second = round(fraction * count)
    return sorted(order[second:].tolist()), sorted(order[:second].tolist())
