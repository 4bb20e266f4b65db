"""From a composed scene to its picture and its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastnas.data.synthetic import parts as p
from fastnas.data.synthetic.camera import NEAR, Camera, Floats
from fastnas.data.synthetic.canvas import SHADES, Canvas
from fastnas.data.synthetic.layout import Layout
from fastnas.data.synthetic.light import develop
from fastnas.data.synthetic.people import Person
from fastnas.data.synthetic.textures import Bytes

RANGE = (0.5, 20.0)  # metres; depth outside is missing, as with a real sensor
BODY = 0.25  # metres; a joint is seen where its pixel shows a surface of its person this near to it
HEAD_SHARE = 0.6  # MPII's head size is this share of the diagonal of the head's box

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Figure:
    """One person in the picture: joints [16, 2] (x, y pixels), which are seen [16], box and head size in pixels."""

    keypoints: Floats
    visible: npt.NDArray[np.bool_]
    distances: Floats  # [16] depth of the joints, metres
    box: Box
    head_size: float


@dataclass(frozen=True)
class Scene:
    """A picture [3, H, W], class ids [H, W], depth [H, W] in metres (0 = missing), and the people in it."""

    image: Bytes
    mask: Bytes
    depth: Floats
    figures: tuple[Figure, ...]


def render(layout: Layout, camera: Camera) -> Scene:
    """Draw a scene as `camera` sees it."""
    parts = list(layout.parts)
    canvas = Canvas(camera, layout.light.to_sun)
    canvas.draw(layout.ground, parts)
    image = develop(canvas, layout.light, layout.ground, parts)
    number = canvas.index // SHADES
    labels = np.array([p.SKY, p.GROUND, *(part.label for part in parts)], np.uint8)
    depth = np.zeros(camera.size, np.float32)
    np.divide(1, canvas.inverse_depth, out=depth, where=canvas.inverse_depth > 1 / RANGE[1])
    depth[depth < RANGE[0]] = 0

    figures, start = [], 2 + len(parts) - sum(len(person.parts) for person in layout.people)
    for person in layout.people:
        end = start + len(person.parts)
        figures.append(_figure(canvas, number, person, start, end))
        start = end
    return Scene(image, labels[number], depth, tuple(figures))


def _figure(canvas: Canvas, number: npt.NDArray[np.uint16], person: Person, start: int, end: int) -> Figure:
    """The labels of a person whose parts have the numbers `start` to `end`."""
    camera = canvas.camera
    height, width = camera.size
    seen = camera.see(person.joints)
    keypoints = camera.project(np.maximum(seen, (-np.inf, -np.inf, NEAR)).astype(np.float32))
    columns, rows = np.rint(keypoints).astype(int).T
    visible = (seen[:, 2] > NEAR) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    visible &= (number[rows, columns] >= start) & (number[rows, columns] < end)
    surface = 1 / np.maximum(canvas.inverse_depth[rows, columns], 1e-3)
    visible &= np.abs(surface - seen[:, 2]) < BODY
    return Figure(keypoints, visible, seen[:, 2], outline(camera, person), _head_size(camera, person))


def outline(camera: Camera, person: Person) -> Box:
    """The box (x0, y0, x1, y1 pixels) around the whole body, hidden parts and those outside the picture too."""
    return _bounds(camera, [part for part in person.parts if isinstance(part, p.Round)])


def _head_size(camera: Camera, person: Person) -> float:
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
    """The box around round parts in the picture."""
    points = camera.see(np.array([point for part in rounds for point in (part.start, part.end)], np.float32))
    radii = np.array([radius for part in rounds for radius in (part.radius, part.end_radius)], np.float32)
    z = np.maximum(points[:, 2], NEAR)
    points[:, 2] = z
    pixels, reach = camera.project(points), (radii / z * np.float32(camera.focal))[:, None]
    x0, y0 = (pixels - reach).min(0).tolist()
    x1, y1 = (pixels + reach).max(0).tolist()
    return (x0, y0, x1, y1)
