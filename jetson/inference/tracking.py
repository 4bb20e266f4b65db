"""Where the person of a pose network is: a box to cut out, from a detection, a segmentation or the last pose.

Joints are float32 [J, 3] of (x, y, score) in pixels of the picture; boxes are in the same pixels.
"""

from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.inference.preprocess import import_cv2
from fastnas.jetson.sidecar import Size

PERSON = ("person", "pedestrian", "human", "people", "rider", "bicyclist")
"""Names that segmentation datasets have for people."""

MARGIN = 1.25
"""A person's box is cut out so much larger: the pose networks are trained on such crops."""

SURE = 0.1
"""Joints of a lower score are guesses: neither drawn nor followed."""

BODY = 1.2
"""The body's box is so much larger than that of its joints, which lie inside the outline."""

STEADY = 0.5
"""Share of the last box in the next: the crop should not tremble with what it follows."""

SMALLEST_BOX = 0.1
"""Share of the picture's shorter side below which a pose is taken for a mistake: crops must not collapse to a point."""

SMALLEST_PERSON = 0.004
"""Share of the picture below which a patch of the person class is taken for noise."""


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
        """Whether the two share a part of the picture."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def grown(self, factor: float, aspect: Optional[float] = None) -> "Box":
        """Larger by `factor` around its centre; with `aspect` (width / height) then widened or heightened to it."""
        width, height = (side * factor for side in self.size)
        if aspect is not None:
            width, height = max(width, height * aspect), max(height, width / aspect)
        x, y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


class PersonTracker:
    """Chooses the box for each picture.

    It is the largest segmented person's. Without a segmentation that knows people it is the last pose's while that is
    sure, which never finds back by itself once it went astray.
    """

    def __init__(self, given: Optional[Box] = None) -> None:
        self._given = given
        self._followed: Optional[Box] = None
        self._segmented = False

    def box(self, picture: Size, ids: Optional[np.ndarray] = None, people: Sequence[int] = ()) -> Optional[Box]:
        """The person's box in a picture of (H, W); None where the segmentation knows people and sees nobody.

        The whole picture is the box where nothing is known.

        Args:
            picture: its size.
            ids: class ids [h, w] of the same picture, if a segmentation network saw it.
            people: which ids are people.
        """
        if ids is None or not people:
            self._segmented = False
            return self._followed or self._given or Box(0, 0, picture[1], picture[0])
        self._segmented = True
        self._follow(find_person(ids, people, picture))
        return self._followed or self._given

    def update(self, joints: np.ndarray, picture: Size) -> None:
        """Follow the pose that was found, or lose it if fewer than half of its joints are sure or it left."""
        if not self._segmented:
            self._follow(_body(joints, picture))

    def _follow(self, box: Optional[Box]) -> None:
        last = self._followed
        if box is not None and last is not None and box.overlaps(last):
            box = Box(*(STEADY * old + (1 - STEADY) * new for old, new in zip(last, box)))
        self._followed = box


def _body(joints: np.ndarray, picture: Size) -> Optional[Box]:
    """The box of a body's sure joints; None if they are fewer than half, out of the picture, or in one point."""
    sure = joints[joints[:, 2] >= SURE, :2]
    if 2 * len(sure) < len(joints):
        return None
    (left, top), (right, bottom) = sure.min(0), sure.max(0)
    box = Box(left, top, right, bottom).grown(BODY)
    if not box.overlaps(Box(0, 0, picture[1], picture[0])) or max(box.size) < SMALLEST_BOX * min(picture):
        return None
    return box


def people_of(classes: Sequence[str]) -> Tuple[int, ...]:
    """The ids of the classes that are people."""
    return tuple(index for index, name in enumerate(classes) if name.lower() in PERSON)


def find_person(ids: np.ndarray, people: Sequence[int], picture: Size) -> Optional[Box]:
    """The box, in a picture of (H, W), of the largest patch of people in the class ids [h, w]; None without one."""
    mask = np.isin(ids, people).astype(np.uint8)
    _, _, stats, _ = import_cv2().connectedComponentsWithStats(mask, connectivity=8)
    patches = stats[1:]  # the first is the background
    if not len(patches):
        return None
    left, top, width, height, area = patches[patches[:, 4].argmax()]
    if area < SMALLEST_PERSON * mask.size:
        return None
    y, x = picture[0] / ids.shape[0], picture[1] / ids.shape[1]
    return Box(left * x, top * y, (left + width) * x, (top + height) * y)


def cut_out(picture: np.ndarray, box: Box, size: Size, fill: Sequence[float]) -> Tuple[np.ndarray, Box]:
    """The part of a picture that a pose network of input `size` (H, W) is to see, and its box in whole pixels.

    What lies outside the picture is filled with the colour `fill` (B, G, R).
    """
    grown = box.grown(MARGIN, size[1] / size[0])
    left, top = int(round(grown.left)), int(round(grown.top))
    width, height = (max(int(round(side)), 1) for side in grown.size)
    right, bottom = left + width, top + height
    rows, columns = picture.shape[:2]
    inside = picture[min(max(top, 0), rows) : max(bottom, 0), min(max(left, 0), columns) : max(right, 0)]
    outside = (max(-top, 0), max(bottom - rows, 0), max(-left, 0), max(right - columns, 0))
    if any(outside) and inside.size:
        cv2 = import_cv2()
        inside = cv2.copyMakeBorder(inside, *outside, borderType=cv2.BORDER_CONSTANT, value=tuple(fill))
    elif not inside.size:
        inside = np.empty((height, width, 3), np.uint8)
        inside[:] = fill
    return inside, Box(left, top, right, bottom)


def to_picture(joints: np.ndarray, box: Box, size: Size) -> np.ndarray:
    """Joints [J, 3] from pixels of the network's input of `size` (H, W) to pixels of the picture."""
    moved = joints.copy()
    moved[:, 0] = box.left + (joints[:, 0] + 0.5) * box.size[0] / size[1] - 0.5
    moved[:, 1] = box.top + (joints[:, 1] + 0.5) * box.size[1] / size[0] - 0.5
    return moved
