"""From a world to its image and its labels, as a camera sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastnas.data.synthetic import primitives as p
from fastnas.data.synthetic.camera import NEAR, Camera, Floats
from fastnas.data.synthetic.canvas import SHADES, Canvas
from fastnas.data.synthetic.light import make_image
from fastnas.data.synthetic.people import PosedPerson
from fastnas.data.synthetic.textures import Bytes
from fastnas.data.synthetic.world import World

RANGE = (0.5, 20.0)  # metres; depth outside is missing, as with a real sensor
BODY = 0.25  # metres; a joint is seen where its pixel shows a surface of its person this near to it
HEAD_SHARE = 0.6  # MPII's head size is this share of the diagonal of the head's box

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PersonLabels:
    """One person in the image: joints [16, 2] (x, y pixels), which are seen [16], box and head size in pixels."""

    keypoints: Floats
    visible: npt.NDArray[np.bool_]
    distances: Floats  # [16] depth of the joints, metres
    box: Box
    head_size: float


@dataclass(frozen=True)
class Scene:
    """An image [3, H, W], class ids [H, W], depth [H, W] in metres (0 = missing), and the people in it."""

    image: Bytes
    mask: Bytes
    depth: Floats
    people: tuple[PersonLabels, ...]


def render(world: World, camera: Camera) -> Scene:
    """The image of a world, and its labels, as `camera` sees it."""
    primitives = list(world.primitives)
    canvas = Canvas(camera, world.light.to_sun)
    canvas.draw(world.ground, primitives)
    image = make_image(canvas, world.light, world.ground, primitives)
    number = canvas.index // SHADES
    labels = np.array([p.SKY, p.GROUND, *(primitive.label for primitive in primitives)], np.uint8)
    depth = np.zeros(camera.size, np.float32)
    np.divide(1, canvas.inverse_depth, out=depth, where=canvas.inverse_depth > 1 / RANGE[1])
    depth[depth < RANGE[0]] = 0

    people, start = [], 2 + len(primitives) - sum(len(person.primitives) for person in world.people)
    for person in world.people:
        end = start + len(person.primitives)
        people.append(_labels(canvas, number, person, start, end))
        start = end
    return Scene(image, labels[number], depth, tuple(people))


def _labels(canvas: Canvas, number: npt.NDArray[np.uint16], person: PosedPerson, start: int, end: int) -> PersonLabels:
    """The labels of a person whose primitives have the numbers `start` to `end`."""
    camera = canvas.camera
    height, width = camera.size
    seen = camera.to_camera(person.joints)
    keypoints = camera.project(np.maximum(seen, (-np.inf, -np.inf, NEAR)).astype(np.float32))
    columns, rows = np.rint(keypoints).astype(int).T
    visible = (seen[:, 2] > NEAR) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    visible &= (number[rows, columns] >= start) & (number[rows, columns] < end)
    surface = 1 / np.maximum(canvas.inverse_depth[rows, columns], 1e-3)
    visible &= np.abs(surface - seen[:, 2]) < BODY
    return PersonLabels(keypoints, visible, seen[:, 2], outline(camera, person), _head_size(camera, person))


def outline(camera: Camera, person: PosedPerson) -> Box:
    """The box (x0, y0, x1, y1 pixels) around the whole body, hidden primitives and those outside the image too."""
    return _bounds(camera, [each for each in person.primitives if isinstance(each, p.Round)])


def _head_size(camera: Camera, person: PosedPerson) -> float:
    """The length, in pixels, by which PCKh divides distances."""
    neck, crown = person.joints[8], person.joints[9]
    radius = 0.35 * float(np.linalg.norm(crown - neck))
    x, y, z = ((neck + crown) / 2).tolist()
    skull = p.Material((0, 0, 0), (0, 0, 0))
    ends = [(np.asarray((x, y, z)) + sign * 0.15 * (crown - neck)).tolist() for sign in (-1, 1)]
    head = p.Round(p.PERSON, skull, tuple(ends[0]), tuple(ends[1]), radius, radius)
    x0, y0, x1, y1 = _bounds(camera, [head])
    return HEAD_SHARE * float(np.hypot(x1 - x0, y1 - y0))


def _bounds(camera: Camera, rounds: list[p.Round]) -> Box:
    """The box around round primitives in the image."""
    points = camera.to_camera(np.array([point for each in rounds for point in each.points], np.float32))
    radii = np.array([radius for each in rounds for radius in (each.radius, each.end_radius)], np.float32)
    z = np.maximum(points[:, 2], NEAR)
    points[:, 2] = z
    pixels, reach = camera.project(points), (radii / z * np.float32(camera.focal))[:, None]
    x0, y0 = (pixels - reach).min(0).tolist()
    x1, y1 = (pixels + reach).max(0).tolist()
    return (x0, y0, x1, y1)
