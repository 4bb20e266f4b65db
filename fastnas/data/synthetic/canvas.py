"""Rasterises primitives into buffers with a depth test: what each pixel shows, its depth, and its direct sunlight.

A pixel stores no colour, but its primitive and the texture's level between the primitive's two colours;
`light.make_image` turns the buffers into an image. Depth is kept as 1 / z, linear over a plane and 0 for the sky.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from fastnas.data.synthetic import textures
from fastnas.data.synthetic.camera import NEAR, Camera, Floats
from fastnas.data.synthetic.primitives import Cylinder, Face, Material, Primitive, Round
from fastnas.data.synthetic.shadows import lit_ground

SHADES = 32  # steps between the two colours of a material
STEP = 256 // SHADES  # of a texture's 256 levels to a shade
HORIZON = 1 / 250  # 1 / metres; the ground is drawn up to there
THINNEST = 0.55  # pixels; a round primitive is never drawn thinner, so that far poles stay visible
SLACK = 1e-3  # pixels; so that rounding opens no gap between neighbouring faces
SPECK = 120  # pixels of a window; smaller round primitives are left untextured


class Canvas:
    """The buffers [H, W] of one image.

    `index` is SHADES * number + shade, with number 0 for the sky, 1 for the ground and 2 + i for the i-th primitive;
    `inverse_depth` is 1 / z in 1 / metres; `direct` the sun's share of the light in 0..1.
    """

    def __init__(self, camera: Camera, to_sun: Floats) -> None:
        """`to_sun` is the unit vector [3] towards the sun, in the world."""
        self.camera = camera
        self._to_sun = to_sun
        self._sun_seen: list[float] = (camera.rotation @ to_sun).tolist()
        self._x, self._y = camera.rays()
        self._columns = np.arange(camera.size[1], dtype=np.float32)[None, :]
        self._rows = np.arange(camera.size[0], dtype=np.float32)[:, None]
        self.index: npt.NDArray[np.uint16] = np.zeros(camera.size, np.uint16)
        self.inverse_depth: Floats = np.zeros(camera.size, np.float32)
        self.direct: Floats = np.ones(camera.size, np.float32)

    def draw(self, ground: Material, primitives: list[Primitive]) -> None:
        """Draw the ground, all primitives, and the shadows that they cast on the ground."""
        world = np.array([point for each in primitives for point in each.points], np.float32).reshape(-1, 3)
        seen = iter(self.camera.to_camera(world).tolist())
        self._ground(ground)
        for number, each in enumerate(primitives, start=2):
            points = list(islice(seen, len(each.points)))
            match each:
                case Round():
                    self._round(number, each, *points)
                case Face():
                    self._face(number, each, points)
                case Cylinder():
                    self._cylinder(number, each, *points)
        lit = lit_ground(self.camera, self._to_sun, primitives, world)
        np.multiply(self.direct, lit, out=self.direct, where=self.index // SHADES == 1)

    def _write(
        self, top: int, left: int, number: int, inside: npt.NDArray[np.bool_], inverse: Floats,
        shade: textures.Bytes | int, direct: Floats | float,
    ) -> None:  # fmt: skip
        """Keep of a primitive's rectangle at (top, left) what is `inside` and nearer than what is there."""
        height, width = inside.shape
        window = np.s_[top : top + height, left : left + width]
        inside &= inverse > self.inverse_depth[window]
        inside &= inverse < 1 / NEAR
        np.copyto(self.inverse_depth[window], inverse, where=inside)
        if isinstance(shade, int):
            np.copyto(self.index[window], np.uint16(number * SHADES + shade // STEP), where=inside)
        else:
            np.copyto(self.index[window], shade // STEP + np.uint16(number * SHADES), where=inside)
        np.copyto(self.direct[window], direct, where=inside, casting="same_kind")

    def _window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int] | None:
        """The pixels (top, bottom, left, right) that the rectangle touches, or None outside the image."""
        height, width = self.camera.size
        left, right = max(int(x0), 0), min(int(x1) + 2, width)
        top, bottom = max(int(y0), 0), min(int(y1) + 2, height)
        return (top, bottom, left, right) if left < right and top < bottom else None

    def _ground(self, material: Material) -> None:
        """The plane Y = 0, in strips of rows that each read the texture at their own sharpness."""
        rotation, height = self.camera.rotation, float(self.camera.position[1])
        down = (-rotation[:, 1] / height).tolist()
        right, forward = rotation[:, 0].tolist(), rotation[:, 2].tolist()
        strip = max(self.camera.size[0] // 10, 1)
        for top in range(0, self.camera.size[0], strip):
            y = self._y[top : top + strip]
            inverse = down[0] * self._x + (down[1] * y + down[2])
            nearest = float(inverse.max())
            if nearest <= HORIZON:
                continue
            inside = inverse > HORIZON
            z = 1 / np.maximum(inverse, HORIZON)
            u = self._along(right, z, self._x, y, 0, material.tile)
            v = self._along(forward, z, self._x, y, 0, material.tile)
            shade = self._shade(material, u, v, 2 / nearest)
            self._write(top, 0, 1, inside, inverse, shade, float(self._to_sun[1]))

    @staticmethod
    def _along(axis: Sequence[float], z: Floats, x: Floats, y: Floats, offset: float, tile: float) -> Floats:
        """How far, in tiles, the points at depth z lie along a camera-space axis from `offset` metres."""
        a, b, c = axis[0] / tile, axis[1] / tile, axis[2] / tile
        along = a * x + (b * y + c)
        along *= z
        along -= offset / tile
        return along

    def _shade(self, material: Material, u: Floats, v: Floats, depth: float) -> textures.Bytes | int:
        """The texture at tile coordinates u, v of a surface about `depth` metres away."""
        if material.texture is None:
            return 0
        return textures.sample(material.texture, u, v, depth / (self.camera.focal * material.tile))

    def _face(self, number: int, primitive: Face, corners: list[list[float]]) -> None:
        """A polygon: 1 / z is linear in x and y over its plane."""
        origin = corners[0]
        edge = _minus(corners[1], origin)
        normal = _cross(edge, _minus(corners[-1], origin))
        facing = _dot(normal, origin)
        if abs(facing) < 1e-9 or (facing > 0 and not primitive.two_sided):
            return
        focal, (cx, cy) = self.camera.focal, self.camera.centre
        polygon = _clip(corners)
        if len(polygon) < 3:
            return
        pixels = [(x / z * focal + cx, y / z * focal + cy) for x, y, z in polygon]
        columns, rows = zip(*pixels, strict=True)
        window = self._window(min(columns), min(rows), max(columns), max(rows))
        if window is None:
            return
        top, bottom, left, right = window
        x, y = self._x[:, left:right], self._y[top:bottom]
        inverse = normal[0] / facing * x + (normal[1] / facing * y + normal[2] / facing)
        # Beside the polygon its plane may come too near or pass behind the camera.
        depths = [corner[2] for corner in polygon]
        np.minimum(np.maximum(inverse, 1 / max(depths), out=inverse), 1 / min(depths), out=inverse)
        length = math.hypot(*normal)
        lambert = _dot(normal, self._sun_seen) / length * (-1 if facing > 0 else 1)
        shade: textures.Bytes | int = 0
        tile = primitive.material.tile
        if primitive.material.texture is not None:
            z = 1 / inverse
            reach = math.hypot(*edge)
            across = (edge[0] / reach, edge[1] / reach, edge[2] / reach)
            up = _cross(normal, across)
            up = (up[0] / length, up[1] / length, up[2] / length)
            u = self._along(across, z, x, y, _dot(across, origin), tile)
            v = self._along(up, z, x, y, _dot(up, origin), tile)
            shade = self._shade(primitive.material, u, v, sum(depths) / len(depths))
        inside = _inside(pixels, facing < 0, self._columns[:, left:right], self._rows[top:bottom])
        self._write(top, left, number, inside, inverse, shade, max(lambert, 0.0))

    def _round(self, number: int, primitive: Round, start: list[float], end: list[float]) -> None:
        """A capsule or ball as its outline in the image, with depth and light bulging towards the viewer."""
        if start[2] < NEAR or end[2] < NEAR:
            return
        focal, (cx, cy) = self.camera.focal, self.camera.centre
        ax, ay = start[0] / start[2] * focal + cx, start[1] / start[2] * focal + cy
        bx, by = end[0] / end[2] * focal + cx, end[1] / end[2] * focal + cy
        ra = max(primitive.radius / start[2] * focal, THINNEST)
        rb = max(primitive.end_radius / end[2] * focal, THINNEST)
        window = self._window(
            min(ax - ra, bx - rb), min(ay - ra, by - rb), max(ax + ra, bx + rb), max(ay + ra, by + rb)
        )
        if window is None:
            return
        top, bottom, left, right = window
        ox, oy = self._columns[:, left:right] - ax, self._rows[top:bottom] - ay
        dx, dy = bx - ax, by - ay
        squared = dx * dx + dy * dy
        light_x, light_y, light_z = self._sun_seen
        z: Floats | float
        spread: Floats | float
        thick: Floats | float
        if squared < 0.25:
            spread = 1 / max(ra, rb)
            sx, sy = ox * spread, oy * spread
            z, thick = min(start[2], end[2]), max(primitive.radius, primitive.end_radius)
        else:
            t = ox * (dx / squared) + oy * (dy / squared)
            np.minimum(np.maximum(t, 0, out=t), 1, out=t)
            spread = 1 / (ra + t * (rb - ra))
            sx, sy = (ox - t * dx) * spread, (oy - t * dy) * spread
            z = 1 / (1 / start[2] + t * (1 / end[2] - 1 / start[2]))
            thick = primitive.radius + t * (primitive.end_radius - primitive.radius)
        bulge = 1 - sx * sx - sy * sy
        direct = light_x * sx + light_y * sy
        shade: textures.Bytes | int = 0
        if primitive.material.texture is not None and bulge.size > SPECK:
            metres = start[2] / (focal * primitive.material.tile)
            turn = number * 0.37  # so that neighbouring primitives do not repeat one another
            if primitive.ragged:
                u, v = ox * metres + turn, oy * metres + turn
            else:
                u, v = sx * (primitive.radius / primitive.material.tile) + turn, oy * metres + turn
            shade = self._shade(primitive.material, u, v, start[2])
            if primitive.ragged:
                bulge += shade * np.float32(0.9 / 255) - np.float32(0.55)
        inside = bulge > 0
        np.sqrt(np.maximum(bulge, 0, out=bulge), out=bulge)
        direct -= light_z * bulge
        np.maximum(direct, 0, out=direct)
        self._write(top, left, number, inside, 1 / np.maximum(z - thick * bulge, 0.01), shade, direct)

    def _cylinder(self, number: int, primitive: Cylinder, base: list[float], head: list[float]) -> None:
        """The mantle of an upright cylinder: each ray is intersected with it."""
        if min(base[2], head[2]) - primitive.radius < NEAR:
            return
        focal, (cx, cy), reach = self.camera.focal, self.camera.centre, primitive.radius
        near = min(base[2], head[2]) - reach
        us = [p[0] / p[2] * focal + cx for p in (base, head)]
        vs = [p[1] / p[2] * focal + cy for p in (base, head)]
        margin = 1.5 * reach / near * focal + 1
        window = self._window(min(us) - margin, min(vs) - margin, max(us) + margin, max(vs) + margin)
        if window is None:
            return
        top, bottom, left, right = window
        x, y = self._x[:, left:right], self._y[top:bottom]
        a0, a1, a2 = self.camera.rotation[:, 1].tolist()  # the world's up
        foot = base[0] * a0 + base[1] * a1 + base[2] * a2
        c0, c1, c2 = base[0] - foot * a0, base[1] - foot * a1, base[2] - foot * a2
        up = a0 * x + (a1 * y + a2)
        square = x * x + (y * y + 1) - up * up
        half = c0 * x + (c1 * y + c2)
        root = half * half - square * (c0 * c0 + c1 * c1 + c2 * c2 - reach * reach)
        inside = root > 0
        z = (half - np.sqrt(np.maximum(root, 0))) / square
        rise = z * up - foot
        inside &= (rise > 0) & (rise < primitive.height) & (z > NEAR)
        l0, l1, l2 = self._sun_seen
        sun_up = l0 * a0 + l1 * a1 + l2 * a2
        lambert = z * (l0 * x + (l1 * y + l2) - up * sun_up) - (c0 * l0 + c1 * l1 + c2 * l2)
        direct = np.maximum(lambert * (1 / reach), 0)
        across = z * (x - up * a0) - c0
        angle = np.arcsin(np.clip(across * (1 / reach), -1, 1)) * np.float32(reach / primitive.material.tile)
        shade = self._shade(primitive.material, angle, rise * (-1 / primitive.material.tile), base[2])
        self._write(top, left, number, inside, 1 / np.maximum(z, 0.01), shade, direct)


def _minus(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _inside(pixels: list[tuple[float, float]], facing: bool, columns: Floats, rows: Floats) -> npt.NDArray[np.bool_]:
    """Which pixel centres lie in a convex polygon [h, w]: in every row, an interval of the columns.

    Its corners run counter-clockwise when `facing`. (OpenCV's filling takes all pixels that the outline touches, so
    that neighbouring faces would fight for them.)
    """
    first, last = [], []  # edges on the left and on the right: a point, and columns per row
    for (x0, y0), (x1, y1) in zip(pixels, pixels[1:] + pixels[:1], strict=True):
        down = y1 - y0 if abs(y1 - y0) > 1e-6 else 1e-6
        if (down > 0) == facing:
            first.append((x0 - SLACK, y0, (x1 - x0) / down))
        else:
            last.append((x0 + SLACK, y0, (x1 - x0) / down))
    if not first or not last:
        return np.zeros((len(rows), columns.shape[1]), np.bool_)
    x, y, slope = np.array(first, np.float32).T[:, None]
    inside = columns >= (x + (rows - y) * slope).max(1, keepdims=True)
    x, y, slope = np.array(last, np.float32).T[:, None]
    inside &= columns <= (x + (rows - y) * slope).min(1, keepdims=True)
    return inside


def _clip(corners: list[list[float]]) -> list[list[float]]:
    """The part of a polygon in front of the near plane."""
    if min(corner[2] for corner in corners) >= NEAR:
        return corners
    kept: list[list[float]] = []
    for here, there in zip(corners, corners[1:] + corners[:1], strict=True):
        if here[2] >= NEAR:
            kept.append(here)
        if (here[2] >= NEAR) != (there[2] >= NEAR):
            share = (NEAR - here[2]) / (there[2] - here[2])
            kept.append([a + (b - a) * share for a, b in zip(here, there, strict=True)])
    return kept
