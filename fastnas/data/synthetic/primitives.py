"""What things are made of: round primitives, flat faces and upright cylinders, each of one material and one class."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from random import Random

from fastnas.data.synthetic import textures

Colour = tuple[float, float, float]  # RGB in 0..1
Point = tuple[float, float, float]  # world, metres

CLASSES = ("sky", "ground", "building", "tree", "box", "ball", "barrel", "car", "sign", "pole", "person")
SKY, GROUND, BUILDING, TREE, BOX, BALL, BARREL, CAR, SIGN, POLE, PERSON = range(len(CLASSES))


@dataclass(frozen=True)
class Material:
    """Two colours, the texture that mixes them, and the size of its tile in metres."""

    colour: Colour
    other: Colour
    texture: str | None = None
    tile: float = 1.0


@dataclass(frozen=True)
class Round:
    """A capsule from `start` to `end` whose radius goes from `radius` to `end_radius`; a ball where they coincide.

    A `ragged` one has the outline of foliage.
    """

    label: int
    material: Material
    start: Point
    end: Point
    radius: float
    end_radius: float
    ragged: bool = False

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that say where it is."""
        return (self.start, self.end)


@dataclass(frozen=True)
class Face:
    """A flat convex polygon, seen from where its corners run counter-clockwise, or from both sides when `two_sided`."""

    label: int
    material: Material
    corners: tuple[Point, ...]
    two_sided: bool = False

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that say where it is."""
        return self.corners


@dataclass(frozen=True)
class Cylinder:
    """The mantle of an upright cylinder that stands on `base`."""

    label: int
    material: Material
    base: Point
    radius: float
    height: float

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that say where it is: the middle of its foot and of its head."""
        return (self.base, (self.base[0], self.base[1] + self.height, self.base[2]))


Primitive = Round | Face | Cylinder


def colour(rng: Random) -> Colour:
    """A colour that any kind of object may have."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.85), rng.uniform(0.25, 0.95))


def darker(of: Colour, by: float) -> Colour:
    """`of` times `by`."""
    return (of[0] * by, of[1] * by, of[2] * by)


def material(rng: Random, tile: tuple[float, float]) -> Material:
    """A material that any kind of object may have, with a tile between `tile[0]` and `tile[1]` metres."""
    first = colour(rng)
    other = colour(rng) if rng.random() < 0.5 else darker(first, rng.uniform(0.45, 0.8))
    return Material(first, other, rng.choice(textures.NAMES), rng.uniform(*tile))
