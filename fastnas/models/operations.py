"""The operations of the cell: the 11 of the paper by their index (Sect. 3.4), and those that a program adds.

This module is imported without torch, so that a genotype can be read quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

OPERATIONS: list[str] = [
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
]
"""Names of the operations; the position is the index in a genotype."""

GAP = OPERATIONS.index("gap")
SKIP = OPERATIONS.index("skip")
ZERO = OPERATIONS.index("zero")

_CONVOLUTIONS = {0: (1, 1), 1: (3, 1), 5: (3, 3), 6: (3, 12)}
_SEPARABLE = {2: (3, 1), 3: (5, 1), 7: (3, 3), 8: (5, 6)}
_ADDED: dict[int, Callable[[int, int], nn.Module]] = {}


def add_operation(name: str, make: Callable[[int, int], nn.Module]) -> int:
    """Add an operation to the search space, in this process.

    Call it before a controller or a genotype with the operation is made, in every process that uses one. The module
    must map [N, C, H, W] to [N, C, H, W] for any H and W.

    Args:
        name: for reports and drawings.
        make: channels C and repeats R -> the module.

    Returns:
        Its index in genotypes.

    Raises:
        ValueError: there is an operation of that name.
    """
    if name in OPERATIONS:
        raise ValueError(f"there is an operation {name!r} already")
    index = len(OPERATIONS)
    OPERATIONS.append(name)
    _ADDED[index] = make
    return index


def make_operation(index: int, channels: int, repeats: int) -> nn.Module:
    """The module of an operation; it maps [N, C, H, W] to [N, C, H, W] for any H and W.

    `zero` has no module: `fastnas.models.cell_plan` leaves it out.

    Args:
        index: position in `OPERATIONS`.
        channels: C.
        repeats: R, how often a separable operation is applied in sequence (1 in search, 2 in full training).

    Raises:
        ValueError: the index is `zero`, or not an operation.
    """
    from torch import nn

    from fastnas.models import layers

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
    if index in _ADDED:
        return _ADDED[index](channels, repeats)
    raise ValueError(f"operation {index} has no module")
