"""The 11 operations of the cell, by the paper's index (Sect. 3.4): index -> name -> module.

Importing this file does not import torch, so that a genotype can be read without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

OPERATIONS: tuple[str, ...] = (
    "conv1x1",
    "conv3x3",
    "sep3x3",
    "sep5x5",
    "gap",
    "conv3x3 rate 3",
    "conv3x3 rate 12",
    "sep3x3 rate 3",
    "sep5x5 rate 6",
    "skip",
    "zero",
)
"""Names of the operations; the position is the index in a genotype."""

GAP = OPERATIONS.index("gap")
SKIP = OPERATIONS.index("skip")
ZERO = OPERATIONS.index("zero")

_CONVOLUTIONS = {0: (1, 1), 1: (3, 1), 5: (3, 3), 6: (3, 12)}
_SEPARABLE = {2: (3, 1), 3: (5, 1), 7: (3, 3), 8: (5, 6)}


def make_operation(index: int, channels: int, repeats: int) -> nn.Module:
    """The module of an operation; it maps [N, C, H, W] to [N, C, H, W] for any H and W.

    `zero` has no module: a decoder leaves out what it would feed.

    Args:
        index: position in `OPERATIONS`.
        channels: C.
        repeats: R, how often a separable operation is applied in sequence (1 in search, 2 in full training).

    Raises:
        ValueError: the index is `zero`, or not an operation.
    """
    from torch import nn

    from fastnas import layers

    if index in _CONVOLUTIONS:
        kernel, rate = _CONVOLUTIONS[index]
        return layers.conv_bn_relu(channels, channels, kernel, rate)
    if index in _SEPARABLE:
        kernel, rate = _SEPARABLE[index]
        return nn.Sequential(*(layers.separable_bn_relu(channels, kernel, rate) for _ in range(repeats)))
    if index == GAP:
        return layers.GlobalPool(channels)
    if index == SKIP:
        return nn.Identity()
    raise ValueError(f"operation {index} has no module")
