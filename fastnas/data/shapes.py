"""Objects as their outlines, run lengths or bitmaps, drawn as masks.

Sizes are (W, H) of the image. Every shape takes what a file holds as it is and checks it when it is drawn, before any
compiled code sees it: pycocotools decodes run lengths of another sum from uninitialised memory, and takes time and
memory in proportion to the coordinates.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from fastnas.data.images import Size
from fastnas.errors import FastnasError

BoolMask = npt.NDArray[np.bool_]


class Patch(NamedTuple):
    """Part of a mask: everything outside of it is False.

    Attributes:
        left: column of its upper left pixel.
        top: row of its upper left pixel.
        pixels: bool [h, w].
    """

    left: int
    top: int
    pixels: BoolMask


LARGEST_FILE = 1 << 26
"""Bytes of the PNG file of a bitmap."""

LONGEST_OUTLINE = 1_000_000
"""Pixels along an outline: what is longer is no drawing of an object."""


class Shape(ABC):
    """The region of one object."""

    @property
    @abstractmethod
    def area(self) -> float:
        """Square pixels, for the order of drawing; 0 where the values are of no use."""

    @abstractmethod
    def mask(self, size: Size, labelled: Size) -> Patch:
        """The region within an image.

        Args:
            size: of the image.
            labelled: of the image that was labelled; coordinates are scaled from it.

        Raises:
            FastnasError: the values are damaged, or do not fit the image.
        """


@dataclass(frozen=True)
class Outline(Shape):
    """Polygons, together one region.

    Attributes:
        rings: for each polygon its points, [[x, y], ...] or COCO's [x, y, x, y, ...].
        holes: polygons that are cut out.
        of_pixels: points are indices of pixels that belong to the region (Supervisely) instead of places on the plane
            in which pixel (0, 0) reaches from 0 to 1 (COCO, LabelMe).
        relative: coordinates are shares of the width and the height (YOLO).
    """

    rings: Sequence[Any]
    holes: Sequence[Any] = ()
    of_pixels: bool = False
    relative: bool = False

    @property
    def area(self) -> float:
        """The polygons' areas by the shoelace formula, without the holes."""
        try:
            return sum(_area(_points(ring)) for ring in self.rings)
        except FastnasError:
            return 0.0

    def mask(self, size: Size, labelled: Size) -> Patch:
        """The polygons, filled; those of fewer than three points have no area and are left out."""
        scale = np.array(size, float) if self.relative else np.array(size, float) / labelled
        rings, holes = ([_points(ring) * scale for ring in part] for part in (self.rings, self.holes))
        for points in rings + holes:
            _require_near(points, size)
        rings = [points for points in rings if len(points) >= 3]
        if not rings:
            return Patch(0, 0, np.zeros((0, 0), dtype=bool))
        corners = np.concatenate(rings)
        first = np.clip(np.floor(corners.min(0)), 0, size).astype(int)
        last = np.clip(np.ceil(corners.max(0)) + 1, 0, size).astype(int)
        width, height = (last - first).tolist()
        drawn = np.zeros((height, width), dtype=bool)
        for part, value in ((rings, True), (holes, False)):
            for points in part:
                if len(points) >= 3 and drawn.size:
                    drawn[self._filled(points, first, (width, height))] = value
        return Patch(int(first[0]), int(first[1]), drawn)

    def _filled(self, points: npt.NDArray[np.float64], first: npt.NDArray[np.int_], size: Size) -> BoolMask:
        """A polygon within a patch whose upper left pixel is `first` and whose size is `size`."""
        width, height = size
        if self.of_pixels:
            canvas = np.zeros((height, width), dtype=np.uint8)
            cv2.fillPoly(canvas, [(np.round(points) - first).astype(np.int32)], 1)
            return canvas.astype(bool)
        from pycocotools import mask as coco_mask

        # pycocotools truncates 5 x + 0.5 towards zero; moved to the patch, the numbers must stay the same ones.
        steps = np.trunc(5 * points + 0.5) - 5 * first
        moved = np.where(steps < 0, steps - 0.75, steps) / 5
        runs = coco_mask.frPyObjects([moved.ravel().tolist()], height, width)
        drawn: BoolMask = coco_mask.decode(runs)[..., 0].astype(bool)
        return drawn


@dataclass(frozen=True)
class Runs(Shape):
    """COCO's run lengths, down the columns, beginning outside: a list, or its compressed text."""

    counts: Any
    size: Any

    @property
    def area(self) -> float:
        """The sum of the runs inside."""
        try:
            return float(sum(self._numbers[1::2]))
        except FastnasError:
            return 0.0

    def mask(self, size: Size, labelled: Size) -> Patch:
        """The runs as a mask of the whole image; they cannot be scaled."""
        width, height = size
        if self.size != [height, width]:
            shown = "x".join(str(v) for v in self.size[::-1]) if isinstance(self.size, list) else repr(self.size)
            raise FastnasError(f"run lengths are for an image of {shown:.40}, but it is {width}x{height}")
        if sum(self._numbers) != width * height:
            raise FastnasError(
                f"run lengths are truncated or damaged: they cover {sum(self._numbers)} of {width * height} pixels"
            )
        from pycocotools import mask as coco_mask

        runs = coco_mask.frPyObjects({"size": self.size, "counts": self._numbers}, height, width)
        return Patch(0, 0, coco_mask.decode(runs).astype(bool))

    @cached_property
    def _numbers(self) -> list[int]:
        numbers = _uncompressed(self.counts) if isinstance(self.counts, str) else self.counts
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 2**31 for n in numbers):
            raise FastnasError("run lengths must be whole numbers from 0")
        return numbers


@dataclass(frozen=True)
class Bitmap(Shape):
    """A small image at a place of the image: inside is what is opaque, or bright where nothing is transparent.

    Attributes:
        data: a PNG file in base64, perhaps compressed by zlib first.
        origin: [x, y] of its upper left pixel.
    """

    data: Any
    origin: Any

    @property
    def area(self) -> float:
        """The pixels inside."""
        try:
            return float(self._pixels(1 << 15).sum())
        except FastnasError:
            return 0.0

    def mask(self, size: Size, labelled: Size) -> Patch:
        """The bitmap at its place, which must lie within the image."""
        width, height = size
        if size != labelled:
            raise FastnasError("bitmaps cannot be scaled")
        pixels = self._pixels(max(size))
        try:
            left, top = (int(value) for value in self.origin)
        except (TypeError, ValueError, OverflowError) as error:
            raise FastnasError(f"the place of a bitmap must be two numbers, not {self.origin!r:.40}") from error
        rows, columns = pixels.shape
        if left < 0 or top < 0 or left + columns > width or top + rows > height:
            raise FastnasError(f"a bitmap of {columns}x{rows} at {left},{top} reaches out of the image")
        return Patch(left, top, pixels)

    def _pixels(self, longest: int) -> BoolMask:
        try:
            content = base64.b64decode(self.data, validate=True)
            if not content.startswith(b"\x89PNG"):
                unpacker = zlib.decompressobj()
                content = unpacker.decompress(content, LARGEST_FILE)
                if not unpacker.eof:
                    raise FastnasError("a bitmap is damaged: its compressed data is truncated or too large")
            image = Image.open(io.BytesIO(content), formats=["PNG"])
            if max(image.size) > longest:
                raise FastnasError(f"a bitmap of {image.width}x{image.height} is larger than its image")
            if image.has_transparency_data:
                return np.array(image.convert("RGBA"))[..., 3] > 0
            return np.array(image.convert("L")) > 0
        except (TypeError, ValueError, OSError, SyntaxError, binascii.Error, zlib.error) as error:
            raise FastnasError(f"a bitmap is damaged: {error}") from error


def coco_shape(segmentation: Any) -> Shape:
    """The region of an object as COCO's JSON has it: polygons, or run lengths.

    Raises:
        FastnasError: neither.
    """
    if isinstance(segmentation, dict):
        return Runs(segmentation.get("counts"), segmentation.get("size"))
    if isinstance(segmentation, list) and segmentation:
        return Outline(segmentation if isinstance(segmentation[0], list) else [segmentation])
    raise FastnasError("an object has a box but no outline: export polygons or masks instead of boxes")


def circle(centre: Any, edge: Any) -> Outline:
    """A circle around a point through another, as a polygon of 180 corners."""
    try:
        (x, y), (other_x, other_y) = centre, edge
        radius = math.hypot(other_x - x, other_y - y)
        turns = [2 * math.pi * i / 180 for i in range(180)]
        return Outline([[[x + radius * math.cos(turn), y + radius * math.sin(turn)] for turn in turns]])
    except (TypeError, ValueError, OverflowError) as error:
        raise FastnasError(f"a circle needs two points: {error}") from error


def rectangle(corner: Any, opposite: Any, of_pixels: bool = False) -> Outline:
    """The rectangle between two corners."""
    try:
        (x, y), (other_x, other_y) = corner, opposite
    except (TypeError, ValueError) as error:
        raise FastnasError(f"a rectangle needs two points: {error}") from error
    return Outline([[[x, y], [other_x, y], [other_x, other_y], [x, other_y]]], of_pixels=of_pixels)


def _points(ring: Any) -> npt.NDArray[np.float64]:
    """Points as float [N, 2]."""
    try:
        flat = np.asarray(ring)
        if flat.size == 0:
            return np.zeros((0, 2))
        if flat.dtype.kind not in "iuf":
            raise ValueError("not numbers")
        if flat.ndim == 1 and flat.size % 2:
            raise FastnasError(f"a polygon has an odd number of coordinates, {flat.size}")
        if flat.ndim not in (1, 2) or (flat.ndim == 2 and flat.shape[1] != 2):
            raise ValueError(f"the shape {list(flat.shape)}")
    except (TypeError, ValueError, OverflowError) as error:
        raise FastnasError(f"a polygon must be a list of points x, y: {error}") from error
    return flat.reshape(-1, 2).astype(np.float64)


def _require_near(points: npt.NDArray[np.float64], size: Size) -> None:
    """Finite, not far outside of the image, and of an outline that can be followed."""
    if not len(points):
        return
    if not np.isfinite(points).all():
        raise FastnasError("a polygon has coordinates that are NaN or infinite")
    far = max(size)
    if points.min() < -far or (points > np.array(size) + far).any():
        raise FastnasError(f"a polygon reaches far out of the image, to {points.min():g} or {points.max():g}")
    steps = np.abs(np.roll(points, -1, axis=0) - points).max(1)
    if steps.sum() > LONGEST_OUTLINE:
        raise FastnasError(f"a polygon's outline is longer than {LONGEST_OUTLINE:,} pixels")


def _area(points: npt.NDArray[np.float64]) -> float:
    x, y = points.T
    with np.errstate(all="ignore"):
        area = abs(float((x * np.roll(y, 1) - y * np.roll(x, 1)).sum())) / 2
    return area if math.isfinite(area) else 0.0


def _uncompressed(text: str) -> list[int]:
    """The numbers of COCO's text: 5 bits a character, the lowest first, as differences to the last but one."""
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise FastnasError("run lengths are damaged: their text is not of COCO's form")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value = shift = 0
    if shift:
        raise FastnasError("run lengths are truncated: their text ends within a number")
    return numbers
