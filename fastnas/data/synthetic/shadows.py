"""The shadows of primitives on the ground: the outline of each as seen from the sun, projected along the light."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np

from fastnas.data.synthetic.camera import NEAR, Camera, Floats
from fastnas.data.synthetic.primitives import Cylinder, Face, Primitive, Round

_ANGLES = np.linspace(0, 2 * np.pi, 8, endpoint=False)
_FAR = 4000.0  # pixels outside the image, at which outlines are cut so that they stay whole numbers


def lit_ground(camera: Camera, to_sun: Floats, primitives: list[Primitive], world: Floats) -> Floats:
    """How much of the sun reaches the ground at every pixel, 0..1 [H, W], with soft edges.

    `world` [n, 3] holds the `points` of all primitives in their order.
    """
    lit = np.full(camera.size, 255, np.uint8)
    if not primitives:
        return lit * np.float32(1 / 255)
    outlines = _outlines(primitives, world, to_sun)
    ends = np.cumsum([len(outline) for outline in outlines])
    starts = np.concatenate([[0], ends[:-1]])
    points = np.concatenate(outlines)
    seen = camera.to_camera(points - to_sun * (points[:, 1:2] / to_sun[1]))
    in_front = np.logical_and.reduceat(seen[:, 2] > NEAR, starts)
    seen[:, 2] = np.maximum(seen[:, 2], NEAR)
    pixels = np.rint(np.clip(camera.project(seen), -_FAR, _FAR) * 16).astype(np.int32)
    for start, end, whole in zip(starts.tolist(), ends.tolist(), in_front.tolist(), strict=True):
        if whole:
            cv2.fillConvexPoly(lit, cv2.convexHull(pixels[start:end]), 0, shift=4)
    blur = max(camera.size) // 128 * 2 + 1
    return cv2.blur(lit, (blur, blur)) * np.float32(1 / 255)


def _outlines(primitives: list[Primitive], world: Floats, to_sun: Floats) -> list[Floats]:
    """For every primitive, points [n, 3] whose hull, seen from the sun, is the primitive."""
    aside = np.array((-to_sun[2], 0, to_sun[0])) / np.hypot(to_sun[0], to_sun[2])
    across_light = np.outer(np.cos(_ANGLES), aside) + np.outer(np.sin(_ANGLES), np.cross(aside, to_sun))
    level = np.stack([np.cos(_ANGLES), 0 * _ANGLES, np.sin(_ANGLES)], axis=1)
    circles = {Round: across_light.astype(np.float32), Cylinder: level.astype(np.float32)}
    found, left = [], iter(world)
    for each in primitives:
        points = np.array(list(islice(left, len(each.points))))
        if not isinstance(each, Face):
            circle = circles[type(each)]
            last = each.end_radius if isinstance(each, Round) else each.radius
            points = np.concatenate([points[0] + each.radius * circle, points[1] + last * circle])
        found.append(points)
    return found
