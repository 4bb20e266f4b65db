"""The box that a pose network's input is cropped from: of a segmented person, or of the last pose.

Joints are float32 [J, 3] of (x, y, score) in pixels of the frame; boxes are in the same pixels.
"""

from typing import Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.inference.predictions import MIN_SCORE, Box
from fastnas.jetson.sidecar import Size
from fastnas.jetson.system.opencv import import_cv2

PEOPLE = ("person", "pedestrian", "human", "people", "rider", "bicyclist")
"""Names that segmentation datasets have for classes of people."""

MARGIN = 1.25
"""A crop is larger than the person's box by this factor: pose networks are trained on such crops."""

BODY_MARGIN = 1.2
"""The body's box is larger than that of its joints, which lie inside the outline, by this factor."""

SMOOTHING = 0.5
"""Weight of the last box in the next, against jitter."""

MIN_BOX = 0.1
"""Share of the frame's shorter side below which the box of a pose is discarded: crops must not collapse to a point."""

MIN_AREA = 0.004
"""Share of the frame below which a connected component of a class of people is noise."""


class PersonTracker:
    """The box of the person of a pose network, frame by frame.

    It is that of the largest segmented person. Without a segmentation that has a class of people it is the last pose's,
    while half of its joints are confident.

    Args:
        initial: the box where nothing is tracked; None is the whole frame.
    """

    def __init__(self, initial: Optional[Box] = None) -> None:
        self._initial = initial
        self._tracked: Optional[Box] = None
        self._segmented = False

    def box(self, frame: Size, ids: Optional[np.ndarray] = None, people: Sequence[int] = ()) -> Optional[Box]:
        """The person's box in a frame of (H, W); None where the segmentation has a class of people and finds nobody.

        Args:
            frame: its size.
            ids: class ids [h, w] of the same frame, if a segmentation network ran.
            people: which ids are people.
        """
        self._segmented = ids is not None and len(people) > 0
        if ids is None or not people:
            return self._tracked or self._initial or Box(0, 0, frame[1], frame[0])
        self._track(find_person(ids, people, frame))
        return self._tracked or self._initial

    def update(self, joints: np.ndarray, frame: Size) -> None:
        """Track the pose that was found; lose it if fewer than half of its joints are confident, or it left."""
        if not self._segmented:
            self._track(_body(joints, frame))

    def _track(self, box: Optional[Box]) -> None:
        last = self._tracked
        if box is not None and last is not None and box.overlaps(last):
            box = Box(*(SMOOTHING * old + (1 - SMOOTHING) * new for old, new in zip(last, box)))
        self._tracked = box


def _body(joints: np.ndarray, frame: Size) -> Optional[Box]:
    """The box of a body's confident joints; None if they are fewer than half, out of the frame, or in one point."""
    confident = joints[joints[:, 2] >= MIN_SCORE, :2]
    if 2 * len(confident) < len(joints):
        return None
    (left, top), (right, bottom) = confident.min(0), confident.max(0)
    box = Box(left, top, right, bottom).scaled(BODY_MARGIN)
    if not box.overlaps(Box(0, 0, frame[1], frame[0])) or max(box.size) < MIN_BOX * min(frame):
        return None
    return box


def people_classes(classes: Sequence[str]) -> Tuple[int, ...]:
    """The ids of the classes that are people."""
    return tuple(index for index, name in enumerate(classes) if name.lower() in PEOPLE)


def find_person(ids: np.ndarray, people: Sequence[int], frame: Size) -> Optional[Box]:
    """The box, in a frame of (H, W), of the largest connected component of people in the class ids [h, w], or None."""
    mask = np.isin(ids, people).astype(np.uint8)
    _, _, stats, _ = import_cv2().connectedComponentsWithStats(mask, connectivity=8)
    components = stats[1:]  # the first is the background
    if not len(components):
        return None
    left, top, width, height, area = components[components[:, 4].argmax()]
    if area < MIN_AREA * mask.size:
        return None
    y, x = frame[0] / ids.shape[0], frame[1] / ids.shape[1]
    return Box(left * x, top * y, (left + width) * x, (top + height) * y)


def crop(frame: np.ndarray, box: Box, size: Size, fill: Sequence[float]) -> Tuple[np.ndarray, Box]:
    """A box with its margin, in the aspect ratio of a pose network's input.

    Args:
        frame: uint8 [H, W, 3].
        box: the person's.
        size: (H, W) of the network's input.
        fill: colour (B, G, R) of what lies outside the frame.

    Returns:
        The crop, uint8, and its box in whole pixels of the frame.
    """
    wide = box.scaled(MARGIN, size[1] / size[0])
    left, top = int(round(wide.left)), int(round(wide.top))
    width, height = (max(int(round(side)), 1) for side in wide.size)
    right, bottom = left + width, top + height
    rows, columns = frame.shape[:2]
    inside = frame[min(max(top, 0), rows) : max(bottom, 0), min(max(left, 0), columns) : max(right, 0)]
    outside = (max(-top, 0), max(bottom - rows, 0), max(-left, 0), max(right - columns, 0))
    if not inside.size:
        inside = np.empty((height, width, 3), np.uint8)
        inside[:] = fill
    elif any(outside):
        cv2 = import_cv2()
        inside = cv2.copyMakeBorder(inside, *outside, borderType=cv2.BORDER_CONSTANT, value=tuple(fill))
    return inside, Box(left, top, right, bottom)


def to_frame(joints: np.ndarray, box: Box, size: Size) -> np.ndarray:
    """Joints [J, 3] from pixels of the network's input of `size` (H, W) to pixels of the frame that `box` is in."""
    moved = joints.copy()
    moved[:, 0] = box.left + (joints[:, 0] + 0.5) * box.size[0] / size[1] - 0.5
    moved[:, 1] = box.top + (joints[:, 1] + 0.5) * box.size[1] / size[0] - 0.5
    return moved
