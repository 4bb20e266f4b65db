"""A pinhole camera over a flat ground.

World: X right, Y up, Z forward, metres, the ground at Y = 0. Camera: x right, y down, z forward. Pixel centres are at
whole numbers, so pixel (u, v) sees along (x, y, 1) with x = (u - cx) / focal and y = (v - cy) / focal, and a point's
depth is its z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

NEAR = 0.3  # metres; what is nearer is not drawn
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Camera:
    """Where the camera is and what it sees: `size` (H, W), `focal` and `centre` (cx, cy) in pixels."""

    size: tuple[int, int]
    focal: float
    centre: tuple[float, float]
    position: Floats  # [3] world
    rotation: Floats  # [3, 3], rows: the camera's right, down and forward in the world

    def to_camera(self, points: Floats) -> Floats:
        """World points [..., 3] in camera coordinates."""
        return (points - self.position) @ self.rotation.T

    def project(self, seen: Floats) -> Floats:
        """Pixels [..., 2] (u, v) of camera points [..., 3] with z > 0."""
        return seen[..., :2] / seen[..., 2:] * np.float32(self.focal) + np.asarray(self.centre, np.float32)

    def rays(self) -> tuple[Floats, Floats]:
        """x of every column [1, W] and y of every row [H, 1]."""
        height, width = self.size
        x = (np.arange(width, dtype=np.float32) - self.centre[0]) / self.focal
        y = (np.arange(height, dtype=np.float32) - self.centre[1]) / self.focal
        return x[None, :], y[:, None]

    def framing(self, box: tuple[float, float, float, float], share: float, shift: tuple[float, float]) -> Camera:
        """The same camera zoomed so that `box` (x0, y0, x1, y1 pixels) fills `share` of the image's tighter side.

        `shift` moves the box off the centre, as a share of the image. Zooming renders the crop at full sharpness.
        """
        height, width = self.size
        zoom = share * min(width / (box[2] - box[0]), height / (box[3] - box[1]))
        u = (width - 1) / 2 + shift[0] * width + zoom * (self.centre[0] - (box[0] + box[2]) / 2)
        v = (height - 1) / 2 + shift[1] * height + zoom * (self.centre[1] - (box[1] + box[3]) / 2)
        return replace(self, focal=self.focal * zoom, centre=(u, v))


def make_camera(size: tuple[int, int], *, height: float, pitch: float, roll: float, focal: float) -> Camera:
    """A camera `height` metres above the ground, looking forward and `pitch` radians down, tilted by `roll`.

    `focal` is in units of the image's longer side, so a scene is the same at every resolution.
    """
    sin_pitch, cos_pitch = math.sin(pitch), math.cos(pitch)
    right, down = np.array([1, 0, 0]), np.array([0, -cos_pitch, -sin_pitch])
    forward = np.array([0, -sin_pitch, cos_pitch])
    sin_roll, cos_roll = math.sin(roll), math.cos(roll)
    rows = [cos_roll * right + sin_roll * down, cos_roll * down - sin_roll * right, forward]
    return Camera(
        size,
        focal * max(size),
        ((size[1] - 1) / 2, (size[0] - 1) / 2),
        np.array([0, height, 0], np.float32),
        np.array(rows, np.float32),
    )
