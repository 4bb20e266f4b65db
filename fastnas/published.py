"""Results published in the paper, to print beside ours and never instead of them."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A row of the paper's Table 1: Pascal VOC val, 512x512 images, MobileNet-v2.

    Attributes:
        miou: mean IoU in percent.
        multiply_adds: in G.
        parameters: in M.
        output: height and width of the output.
    """

    miou: float
    multiply_adds: float
    parameters: float
    output: int


TABLE_1: dict[str, Row] = {
    "deeplabv3-aspp-mbv2": Row(75.7, 5.8, 4.5, 32),
    "deeplabv3-mbv2": Row(75.9, 8.73, 2.1, 64),
    "rflw-mbv2": Row(76.2, 9.3, 3.3, 128),
    "arch0": Row(78.0, 4.47, 2.6, 128),
    "arch1": Row(77.1, 2.95, 2.8, 64),
    "arch2": Row(77.3, 3.47, 2.9, 64),
}
"""Our name of a network -> its row."""

TX2_MS: dict[str, tuple[float, float]] = {"arch0": (109.36, 0.39), "arch1": (67.57, 0.54), "arch2": (64.60, 0.33)}
"""The same table's time on a Jetson TX2 at 512x512: mean and std, ms."""
