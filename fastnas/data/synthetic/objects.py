"""Everything in a scene but people, each a list of primitives standing at (x, z) on the ground."""

from __future__ import annotations

import colorsys
import math
from random import Random

from fastnas.data.synthetic import primitives as p

DARK = (0.06, 0.06, 0.07)


class _Frame:
    """A place on the ground with a heading: turns local (right, up, forward) metres into the world."""

    def __init__(self, x: float, z: float, heading: float, y: float = 0.0) -> None:
        self.x, self.y, self.z = x, y, z
        self.sin, self.cos = math.sin(heading), math.cos(heading)

    def __call__(self, right: float, up: float, forward: float) -> p.Point:
        x = self.x + right * self.cos + forward * self.sin
        return (x, self.y + up, self.z - right * self.sin + forward * self.cos)


def _block(
    label: int, material: p.Material, frame: _Frame, size: p.Point, *, lift: float = 0.0, top: float = 1.0,
    roof: p.Material | None = None,
) -> list[p.Primitive]:  # fmt: skip
    """A block of `size` (width, height, length), its upper face shrunk to `top` of the length; no underside."""
    width, height, length = size[0] / 2, size[1] + lift, size[2] / 2
    low = [frame(r * width, lift, f * length) for r, f in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    inset = 0.5 + top / 2  # sideways it shrinks by half as much
    high = [frame(r * width * inset, height, f * length * top) for r, f in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    faces: list[p.Primitive] = []
    for i in range(4):
        j = (i + 1) % 4
        faces.append(p.Face(label, material, (low[i], low[j], high[j], high[i])))
    faces.append(p.Face(label, roof or material, (high[0], high[1], high[2], high[3])))
    return faces


def building(rng: Random, x: float, z: float, heading: float, size: p.Point) -> list[p.Primitive]:
    """A house, hall or long wall."""
    walls = p.material(rng, (1.2, 3.2))
    if rng.random() < 0.5:
        walls = p.Material(walls.colour, p.darker(p.colour(rng), 0.5), "windows", rng.uniform(2.5, 4.5))
    roof = p.Material(p.darker(walls.colour, 0.6), DARK)
    return _block(p.BUILDING, walls, _Frame(x, z, heading), size, roof=roof)


def box(rng: Random, x: float, z: float, size: float) -> list[p.Primitive]:
    """A crate about `size` metres wide, at times with a smaller one on top."""
    heading, width, height = rng.uniform(0, math.pi), size * rng.uniform(0.7, 1.3), size * rng.uniform(0.5, 1.4)
    length = size * rng.uniform(0.7, 1.3)
    found = _block(p.BOX, p.material(rng, (0.3, 1.2)), _Frame(x, z, heading), (width, height, length))
    if rng.random() < 0.25:
        share, turned = rng.uniform(0.4, 0.8), _Frame(x, z, heading + rng.uniform(-0.5, 0.5), height)
        upper = (width * share, height * rng.uniform(0.4, 0.9), length * share)
        found += _block(p.BOX, p.material(rng, (0.3, 1.2)), turned, upper)
    return found


def ball(rng: Random, x: float, z: float, radius: float) -> list[p.Primitive]:
    """A ball, on the ground or, at times, in the air."""
    height = radius + (rng.uniform(0.2, 1.8) if rng.random() < 0.2 else 0.0)
    centre = (x, height, z)
    return [p.Round(p.BALL, p.material(rng, (radius, 3 * radius)), centre, centre, radius, radius)]


def barrel(rng: Random, x: float, z: float, radius: float) -> list[p.Primitive]:
    """An upright drum with a lid."""
    height, coat = radius * rng.uniform(1.6, 4.0), p.material(rng, (0.3, 1.2))
    lid = tuple(
        (x + radius * math.cos(a), height, z + radius * math.sin(a)) for a in (k * math.pi / 10 for k in range(20))
    )
    inner = tuple((x + (px - x) * 0.8, height + 0.005, z + (pz - z) * 0.8) for px, _, pz in lid)
    rim = p.Material(p.darker(coat.colour, 0.8), DARK)
    return [
        p.Cylinder(p.BARREL, coat, (x, 0.0, z), radius, height),
        p.Face(p.BARREL, rim, lid, two_sided=True),
        p.Face(p.BARREL, p.Material(p.darker(coat.colour, 0.6), DARK), inner, two_sided=True),
    ]


def car(rng: Random, x: float, z: float, scale: float) -> list[p.Primitive]:
    """A body, a cabin of glass with a roof, wheels, and lights: white in front, red behind."""
    frame = _Frame(x, z, rng.uniform(-math.pi, math.pi))
    width, length, belt = 1.75 * scale, rng.uniform(3.4, 4.6) * scale, rng.uniform(0.75, 0.95) * scale
    paint = p.material(rng, (0.5, 2.0))
    if rng.random() < 0.6:
        paint = p.Material(paint.colour, paint.other)
    floor, wheel = 0.24 * scale, 0.33 * scale
    glass = p.Material((0.16, 0.2, 0.25), (0.45, 0.52, 0.58), "clouds", 1.6)
    cabin, back = length * rng.uniform(0.5, 0.75), -length * rng.uniform(0.02, 0.1)
    seat = _Frame(*_ground(frame(0, 0, back)), math.atan2(frame.sin, frame.cos))
    found = _block(p.CAR, paint, frame, (width, belt - floor, length), lift=floor)
    found += _block(p.CAR, glass, seat, (width * 0.96, 0.55 * scale, cabin), lift=belt, top=0.68, roof=paint)
    for side in (-1, 1):
        out = side * (width / 2 + 0.012)
        for along in (-0.31, 0.31):
            for radius, shift, tyre in ((wheel, 0.0, DARK), (wheel * 0.55, 0.008, (0.62, 0.63, 0.66))):
                disc = tuple(
                    frame(out + side * shift, wheel + radius * math.sin(a), along * length + radius * math.cos(a))
                    for a in (k * math.pi / 6 for k in range(12))
                )
                ordered = disc if side > 0 else disc[::-1]
                found.append(p.Face(p.CAR, p.Material(tyre, DARK), ordered, two_sided=radius == wheel))
        for end, lamp in ((1, (1.0, 0.97, 0.85)), (-1, (0.85, 0.08, 0.06))):
            r0, r1, f = side * width * 0.28, side * width * 0.46, end * (length / 2 + 0.01)
            low, high = floor + 0.55 * (belt - floor), floor + 0.82 * (belt - floor)
            quad = (frame(r0, low, f), frame(r1, low, f), frame(r1, high, f), frame(r0, high, f))
            found.append(p.Face(p.CAR, p.Material(lamp, lamp), quad if side * end < 0 else quad[::-1]))
    return found


def _ground(point: p.Point) -> tuple[float, float]:
    """The point's x and z."""
    return point[0], point[2]


def tree(rng: Random, x: float, z: float, height: float) -> list[p.Primitive]:
    """A trunk with a ragged crown, round or a fir's; mostly green."""
    hue = rng.uniform(0.2, 0.38) if rng.random() < 0.7 else rng.uniform(0.0, 0.17)
    light = colorsys.hsv_to_rgb(hue, rng.uniform(0.35, 0.75), rng.uniform(0.4, 0.75))
    leaves = p.Material(p.darker(light, 0.4), light, "leaves", height * rng.uniform(0.25, 0.45))
    bark = p.Material(p.darker(p.colour(rng), 0.55), (0.12, 0.1, 0.09), "planks", 0.5)
    thick, lean = height * rng.uniform(0.025, 0.05), height * rng.uniform(-0.06, 0.06)
    top = (x + lean, height * 0.75, z)
    found: list[p.Primitive] = [p.Round(p.TREE, bark, (x, 0.0, z), top, thick, thick * 0.45)]
    if rng.random() < 0.35:
        tiers = rng.randint(3, 4)
        for tier in range(tiers):
            low = height * (0.2 + 0.68 * tier / tiers)
            wide = height * 0.27 * (1 - 0.75 * tier / tiers)
            foot, tip = (x, low + wide * 0.5, z), (x, low + height * 0.34, z)
            found.append(p.Round(p.TREE, leaves, foot, tip, wide, wide * 0.12, ragged=True))
        return found
    for branch in range(rng.randint(4, 6)):
        angle, reach = branch * 2.4 + rng.random(), height * rng.uniform(0.05, 0.2)
        centre = (top[0] + reach * math.cos(angle), height * rng.uniform(0.55, 0.85), z + reach * math.sin(angle))
        radius = height * rng.uniform(0.16, 0.26)
        found.append(p.Round(p.TREE, leaves, centre, centre, radius, radius, ragged=True))
    return found


def pole(rng: Random, x: float, z: float, height: float) -> list[p.Primitive]:
    """A thin post, at times a street lamp with its arm."""
    coat, thick = p.material(rng, (0.3, 1.0)), rng.uniform(0.025, 0.07)
    found: list[p.Primitive] = [p.Round(p.POLE, coat, (x, 0.0, z), (x, height, z), thick, thick * 0.8)]
    if rng.random() < 0.4:
        frame, reach = _Frame(x, z, rng.uniform(-math.pi, math.pi)), height * rng.uniform(0.15, 0.3)
        arm, lamp = frame(0, height, reach), p.Material((1.0, 0.96, 0.85), DARK)
        found.append(p.Round(p.POLE, coat, (x, height, z), arm, thick * 0.7, thick * 0.6))
        found.append(p.Round(p.POLE, lamp, arm, frame(0, height - 0.03, reach + 0.25), 0.08, 0.06))
    return found


def sign(rng: Random, x: float, z: float, height: float) -> list[p.Primitive]:
    """A plate of some shape with a border; its post is a pole."""
    frame = _Frame(x, z, rng.uniform(-0.9, 0.9))
    half, corners = rng.uniform(0.22, 0.5), rng.choice((3, 4, 4, 8, 16))
    turn = rng.choice((0.0, math.pi / corners)) if corners == 4 else math.pi / 2 if corners == 3 else math.pi / corners
    wide = rng.uniform(1.0, 1.6) if corners == 4 and turn else 1.0
    post, border, face = p.material(rng, (0.3, 1.0)), p.colour(rng), p.material(rng, (0.3, 0.9))

    def plate(size: float, forward: float) -> tuple[p.Point, ...]:
        angles = (turn + 2 * math.pi * k / corners for k in range(corners))
        return tuple(frame(size * wide * math.cos(a), height + size * math.sin(a), forward) for a in angles)

    back = p.Material((0.55, 0.56, 0.58), DARK)
    return [
        p.Round(p.POLE, post, (x, 0.0, z), (x, height + 0.5 * half, z), 0.035, 0.03),
        p.Face(p.SIGN, p.Material(border, border), plate(half, -0.05)),
        p.Face(p.SIGN, face, plate(half * 0.78, -0.06)),
        p.Face(p.SIGN, back, plate(half, 0.05)[::-1]),
    ]
