"""What networks predict for one frame, and boxes in it. Coordinates are in pixels of the frame."""

from typing import NamedTuple, Optional, Tuple

import numpy as np

MIN_SCORE = 0.1
"""Joints of a lower score are neither drawn nor tracked."""


class Box(NamedTuple):
    """A rectangle, in pixels; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def size(self) -> Tuple[float, float]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    def overlaps(self, other: "Box") -> bool:
        """Whether the intersection with another box is not empty."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def scaled(self, factor: float, aspect: Optional[float] = None) -> "Box":
        """Scaled by `factor` around its centre; with `aspect` (width / height) then widened or heightened to it."""
        width, height = (side * factor for side in self.size)
        if aspect is not None:
            width, height = max(width, height * aspect), max(height, width / aspect)
        x, y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


class Predictions(NamedTuple):
    """The predictions for one frame; None for tasks that did not run.

    Attributes:
        segmentation: class ids, uint8 [h, w].
        depth: metres, float32 [h, w].
        pose: joints, float32 [J, 3] of (x, y, score).
        box: of the crop that the pose network's input was; None for a network that finds joints in the whole frame.
        milliseconds: inference time, the sum over all networks.
        preparing: milliseconds of pre-processing, likewise.
    """

    segmentation: Optional[np.ndarray] = None
    depth: Optional[np.ndarray] = None
    pose: Optional[np.ndarray] = None
    box: Optional[Box] = None
    milliseconds: float = 0.0
    preparing: float = 0.0
