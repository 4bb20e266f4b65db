"""Composes a world: which things stand where on the ground, and the camera that looks at them.

Everything is sampled from one generator in one order, and nothing depends on the image's size, so that a world is the
same at every resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from fastnas.data.synthetic import objects
from fastnas.data.synthetic import primitives as p
from fastnas.data.synthetic.camera import Camera, make_camera
from fastnas.data.synthetic.light import Light, sample_light
from fastnas.data.synthetic.people import PosedPerson, make_person

FARTHEST = 18.0  # metres; objects stand nearer than this


@dataclass(frozen=True)
class World:
    """What there is to see; the last of `primitives` are those of `people`, in their order."""

    camera: Camera
    light: Light
    ground: p.Material
    primitives: tuple[p.Primitive, ...]
    people: tuple[PosedPerson, ...]


class _Floor:
    """Finds free places in view."""

    def __init__(self, rng: Random, spread: float) -> None:
        self._rng, self._spread = rng, spread
        self._taken: list[tuple[float, float, float]] = []

    def place(self, radius: float, nearest: float, farthest: float = FARTHEST) -> tuple[float, float] | None:
        """(x, z) of a free disc, or None when a few tries find none; near and far are equally likely per octave."""
        rng = self._rng
        for _ in range(8):
            z = math.exp(rng.uniform(math.log(nearest), math.log(farthest)))
            x = rng.uniform(-1, 1) * self._spread * z
            if all((x - ox) ** 2 + (z - oz) ** 2 > (radius + other) ** 2 for ox, oz, other in self._taken):
                self._taken.append((x, z, radius))
                return x, z
        return None

    def block(self, x: float, z: float, radius: float) -> None:
        """Keep a disc free."""
        self._taken.append((x, z, radius))


def compose(rng: Random, size: tuple[int, int], *, people: tuple[int, int]) -> World:
    """A world with at least `people[0]` and at most `people[1]` persons."""
    light = sample_light(rng)
    camera_height = rng.uniform(0.9, 2.6)
    focal = 0.5 / math.tan(math.radians(rng.uniform(50, 76)) / 2)
    camera = make_camera(
        size,
        height=camera_height,
        pitch=math.radians(rng.uniform(-2, 9) + 2.5 * camera_height),
        roll=math.radians(rng.gauss(0, 1.5)),
        focal=focal,
    )
    floor = _Floor(rng, 0.46 / focal)
    ground = p.material(rng, (1.0, 4.0))
    if rng.random() < 0.6:  # earth, grass or asphalt rather than any colour
        shade = rng.choice(((0.42, 0.41, 0.4), (0.36, 0.46, 0.22), (0.55, 0.46, 0.33)))
        ground = p.Material(p.darker(shade, 0.75), p.darker(shade, rng.uniform(0.9, 1.2)), ground.texture, ground.tile)

    crowd: list[PosedPerson] = []
    for number in range(rng.randint(*people)):
        spot = floor.place(0.45, 2.4 if number else 3.0, 14.0)
        if spot is None and number < people[0]:
            spot = (rng.uniform(-1, 1), rng.uniform(4, 8))
        if spot is not None:
            crowd.append(make_person(rng, *spot))
    found = _buildings(rng, floor)
    for _ in range(rng.randint(7, 13)):
        found += _thing(rng, floor)
    for person in crowd:
        found += person.primitives
    return World(camera, light, ground, tuple(found), tuple(crowd))


def _buildings(rng: Random, floor: _Floor) -> list[p.Primitive]:
    """A row far behind, and at times a street's wall on one side."""
    found: list[p.Primitive] = []
    x = -16 * rng.random() - 6
    while x < 14:
        width, height = rng.uniform(3, 9), rng.uniform(2.5, 8)
        if rng.random() < 0.6:
            z = rng.uniform(FARTHEST - 1, FARTHEST + 8)
            found += objects.building(rng, x + width / 2, z, rng.uniform(-0.3, 0.3), (width, height, rng.uniform(3, 6)))
        x += width + rng.uniform(0, 3)
    if rng.random() < 0.4:
        side, near = rng.choice((-1, 1)), rng.uniform(1.5, 7)
        length, depth = rng.uniform(5, 14), rng.uniform(2, 4)
        x = side * (rng.uniform(2.6, 6) + depth / 2)
        found += objects.building(rng, x, near + length / 2, 0.0, (depth, rng.uniform(2.2, 6), length))
        for step in range(8):
            floor.block(x, near + length * (step + 0.5) / 8, max(depth, length / 8) / 2 + 0.3)
    return found


def _thing(rng: Random, floor: _Floor) -> list[p.Primitive]:
    """One object of a random kind, where there is room for it."""
    kind = rng.choice((p.TREE, p.BOX, p.BOX, p.BALL, p.BALL, p.BARREL, p.BARREL, p.CAR, p.CAR, p.SIGN, p.SIGN, p.POLE))
    match kind:
        case p.TREE:
            height = rng.uniform(1.5, 6.5)
            spot = floor.place(height * 0.2, 3.5)
            return objects.tree(rng, *spot, height) if spot else []
        case p.BOX:
            size = math.exp(rng.uniform(math.log(0.25), math.log(1.6)))
            spot = floor.place(size * 0.9, 1.2 + 1.6 * size)
            return objects.box(rng, *spot, size) if spot else []
        case p.BALL:
            radius = math.exp(rng.uniform(math.log(0.1), math.log(0.6)))
            spot = floor.place(radius, 1.2 + 3 * radius)
            return objects.ball(rng, *spot, radius) if spot else []
        case p.BARREL:
            radius = rng.uniform(0.12, 0.5)
            spot = floor.place(radius, 1.2 + 3 * radius)
            return objects.barrel(rng, *spot, radius) if spot else []
        case p.CAR:
            scale = rng.uniform(0.75, 1.1)
            spot = floor.place(1.9 * scale, 4.5)
            return objects.car(rng, *spot, scale) if spot else []
        case p.SIGN:
            spot = floor.place(0.3, 2.2)
            return objects.sign(rng, *spot, rng.uniform(1.2, 2.6)) if spot else []
        case _:
            spot = floor.place(0.12, 1.8)
            return objects.pole(rng, *spot, rng.uniform(1.2, 5.5)) if spot else []
