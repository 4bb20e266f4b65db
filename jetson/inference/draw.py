"""Predictions drawn on a frame: classes with a legend, a skeleton, and depth with a scale in metres.

The live camera draws with it, and so do the plots of training and evaluation. Images are uint8 [H, W, 3] in OpenCV's
channel order B, G, R; so are colours.
"""

import functools
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from fastnas.jetson.inference.predictions import MIN_SCORE, Box
from fastnas.jetson.system.opencv import import_cv2

cv2 = import_cv2()

Colour = Tuple[int, int, int]
Entries = List[Tuple[str, Colour]]

PANEL, TEXT, WHITE, GREY = (24, 20, 18), (235, 235, 235), (255, 255, 255), (128, 128, 128)
LEFT, RIGHT, CENTRE = (0, 140, 255), (255, 150, 0), (90, 200, 60)
"""Colours of the body's sides, distinguishable with colour vision deficiency."""

UNPAINTED = ("background", "void", "unlabelled", "unlabeled")
"""Names of classes that are not painted."""

MIN_SHARE = 0.002
"""Share of the frame from which a class is listed in the legend."""

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
WIDE = 1.6
"""Aspect ratio (width / height) from which depth is drawn below the frame instead of beside it."""

STAMPS = 8
"""Legends and scales that are kept: one for each set of classes that came lately."""

SHIFT = 4
"""OpenCV takes coordinates in fractions of a pixel: here sixteenths."""


def draw(
    frame: np.ndarray,
    tasks: Dict[str, Dict[str, Any]],
    segmentation: Optional[np.ndarray] = None,
    depth: Optional[np.ndarray] = None,
    pose: Optional[np.ndarray] = None,
    box: Optional[Box] = None,
    alpha: float = 0.5,
) -> np.ndarray:
    """A new image: classes and skeleton on a copy of the frame, depth beside or below it.

    Args:
        frame: uint8 [H, W, 3].
        tasks: tasks by kind (`segmentation`, `depth`, `pose`), each with the fields that it has in the sidecar.
        segmentation: class ids, uint8 [h, w]; 255 is ignored.
        depth: metres, float32 [h, w]; grey where it is not positive or NaN.
        pose: joints, float32 [J, 3] of (x, y, score) in pixels of the frame; below `MIN_SCORE` they are left out.
        box: of the pose network's crop.
        alpha: opacity of the classes' colours, 0 to 1.
    """
    canvas = frame.copy()
    legend: Entries = []
    if segmentation is not None:
        canvas, legend = _draw_classes(canvas, segmentation, tasks["segmentation"], alpha)
    if pose is not None:
        legend = legend + _draw_skeleton(canvas, pose, tasks["pose"], box)
    names = _legend(tuple(legend), canvas.shape[:2])
    if names is not None:
        names.put(canvas)
    if depth is None:
        return canvas
    panel = _draw_depth(depth, tasks["depth"], canvas.shape[:2])
    return np.concatenate([canvas, panel], 0 if canvas.shape[1] >= WIDE * canvas.shape[0] else 1)


def _draw_classes(frame: np.ndarray, ids: np.ndarray, task: Dict[str, Any], alpha: float) -> Tuple[np.ndarray, Entries]:
    """The frame blended with the classes' colours, and the legend's entries."""
    colours = [(c[2], c[1], c[0]) for c in task["colours"]]
    opacity = np.zeros((256, 1), np.float32)
    opacity[: len(colours), 0] = [0.0 if name.lower() in UNPAINTED else alpha for name in task["classes"]]
    palette = np.zeros((256, 3), np.float32)
    palette[: len(colours)] = colours
    # Colours and opacities are blurred and enlarged, not ids: that is fast, and smooths the edges of large pixels.
    paint, keep = (
        cv2.resize(cv2.blur(table.astype(np.uint8)[ids], (3, 3)), frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        for table in (palette * opacity, np.repeat(255 * (1 - opacity), 3, 1))
    )
    shares = np.bincount(ids.ravel(), minlength=256)[: len(colours)] / ids.size
    listed = np.flatnonzero((shares >= MIN_SHARE) & (opacity[: len(colours), 0] > 0))
    entries = [(task["classes"][index], colours[index]) for index in listed]
    return cv2.add(cv2.multiply(frame, keep, scale=1 / 255), paint), entries


def _draw_skeleton(canvas: np.ndarray, joints: np.ndarray, task: Dict[str, Any], box: Optional[Box]) -> Entries:
    """Draw joints and bones in the colours of the body's sides, and the corners of the crop; the legend's entries."""
    sides = [_side(name) for name in task["joints"]]
    thickness = max(2, canvas.shape[1] // 240)
    visible = joints[:, 2] >= MIN_SCORE
    # OpenCV's coordinates overflow far outside the canvas.
    points = [tuple(int(v * 2**SHIFT) for v in np.clip(joint, -(1 << 14), 1 << 14)) for joint in joints[:, :2]]
    if not visible.any():
        return []
    if box is not None:
        _draw_corners(canvas, box, max(1, thickness // 2))
    for one, other in task["skeleton"]:
        if visible[one] and visible[other]:
            colour = sides[one] if sides[one] == sides[other] else CENTRE
            for each, width in ((PANEL, thickness + 2), (colour, thickness)):
                cv2.line(canvas, points[one], points[other], each, width, cv2.LINE_AA, SHIFT)
    for point, colour, drawn in zip(points, sides, visible):
        if drawn:
            cv2.circle(canvas, point, max(int(1.4 * thickness), thickness + 1) << SHIFT, WHITE, -1, cv2.LINE_AA, SHIFT)
            cv2.circle(canvas, point, thickness << SHIFT, colour, -1, cv2.LINE_AA, SHIFT)
    return [(name, colour) for name, colour in (("left side", LEFT), ("right side", RIGHT)) if colour in sides]


def _draw_depth(metres: np.ndarray, task: Dict[str, Any], size: Tuple[int, int]) -> np.ndarray:
    """Depth as an image of `size` (H, W) with a scale: near is yellow, far is dark blue, by the logarithm."""
    near, far = max(task["minimum"], task["maximum"] / 20), task["maximum"]

    missing = ~(metres > 0)
    shades = (255 * (1 - _share(np.where(missing, far, metres), near, far))).astype(np.uint8)
    panel = cv2.applyColorMap(cv2.resize(shades, size[::-1], interpolation=cv2.INTER_LINEAR), cv2.COLORMAP_VIRIDIS)
    if missing.any():
        mask = cv2.resize(missing.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        panel[mask > 0] = GREY
    scale = _scale(near, far, size)
    if scale is not None:
        scale.put(panel)
    return panel


@functools.lru_cache(maxsize=STAMPS)
def _scale(near: float, far: float, size: Tuple[int, int]) -> Optional["_Stamp"]:
    """The scale of depth for an image of (H, W), where there is room for one."""
    text, width = _Text(size), max(size[1] // 40, 8)
    left, top = size[1] - 3 * width - text.width("0.5 m"), size[0] // 10
    if size[1] - left > size[1] // 2:
        return None
    box = (left - width, top // 2, size[1] - width // 2, size[0] - top // 2)
    return _stamp(size, box, lambda panel: _paint_scale(panel, near, far, left))


def _share(values: Any, near: float, far: float) -> Any:
    """Where metres lie between near (0) and far (1), by the logarithm."""
    return np.log(np.clip(values, near, far) / near) / np.log(far / near)


def _paint_scale(panel: np.ndarray, near: float, far: float, left: int) -> None:
    """Paint the scale's bar, whose left edge is given, and its ticks."""
    size = panel.shape[:2]
    text, width, top = _Text(size), max(size[1] // 40, 8), size[0] // 10
    bottom = size[0] - top
    bar = np.linspace(255, 0, bottom - top).astype(np.uint8)[:, None]
    panel[top:bottom, left : left + width] = cv2.applyColorMap(bar, cv2.COLORMAP_VIRIDIS)
    last = -size[0]
    for tick in TICKS:
        y = int(top + _share(tick, near, far) * (bottom - top - 1))
        if near * 0.999 <= tick <= far * 1.001 and y - last > 1.3 * text.height:
            cv2.line(panel, (left + width, y), (left + width + width // 3, y), TEXT, 1, cv2.LINE_AA)
            text.write(panel, "{:g} m".format(tick), (left + width + width // 2, y + text.height // 2))
            last = y


@functools.lru_cache(maxsize=STAMPS)
def _legend(entries: Tuple[Tuple[str, Colour], ...], size: Tuple[int, int]) -> Optional["_Stamp"]:
    """Names with their colours in columns in the lower half of an image of (H, W), at the left; as many as fit."""
    height, width = size
    text = _Text(size)
    line, margin = 2 * text.height, text.height
    rows = max(min(len(entries), (height // 2 - 2 * margin) // line), 1)
    x, top = 2 * margin, height - 2 * margin - rows * line
    columns = []
    for start in range(0, len(entries), rows):
        advance = max(text.width(name) for name, _ in entries[start : start + rows]) + 3 * margin
        if x + advance > width - margin:
            break
        columns.append((x, entries[start : start + rows]))
        x += advance
    if not columns:
        return None
    box = (margin, top - margin // 2, x, height - 2 * margin + margin // 2)
    return _stamp(size, box, lambda canvas: _paint_legend(canvas, columns, top))


def _paint_legend(canvas: np.ndarray, columns: List[Tuple[int, Any]], top: int) -> None:
    """Paint the columns of a legend, each with its left edge and entries."""
    text = _Text(canvas.shape[:2])
    line, margin = 2 * text.height, text.height
    half = int(text.height * 0.6)
    for left, column in columns:
        for row, (name, colour) in enumerate(column):
            middle = top + row * line + line // 2
            cv2.rectangle(canvas, (left, middle - half), (left + 2 * half, middle + half), colour, -1)
            text.write(canvas, name, (left + int(1.8 * margin), middle + text.height // 2))


class _Stamp(NamedTuple):
    """What is the same in every frame, drawn once: a rectangle, how much of the image it keeps, what it adds."""

    left: int
    top: int
    keep: np.ndarray
    paint: np.ndarray

    def put(self, canvas: np.ndarray) -> None:
        """Draw it on an image of the size that it was made for."""
        height, width = self.paint.shape[:2]
        part = canvas[self.top : self.top + height, self.left : self.left + width]
        if part.size:
            part[:] = cv2.add(cv2.multiply(part, self.keep, scale=1 / 255), self.paint)


def _stamp(size: Tuple[int, int], box: Tuple[int, int, int, int], paint: Callable[[np.ndarray], None]) -> _Stamp:
    """What `paint` draws on an image of (H, W) within a box, which is darkened so that text is readable on any frame.

    All of that is linear in the pixels below: drawn on black it is what is added, and on white that and what is kept.
    """
    left, top, right, bottom = (max(value, 0) for value in box)
    black, white = (np.full(size + (3,), value, np.uint8) for value in (0, 255))
    for canvas in (black, white):
        _shade(canvas, box)
        paint(canvas)
    added = black[top:bottom, left:right].copy()
    return _Stamp(left, top, cv2.subtract(white[top:bottom, left:right], added), added)


def caption(image: np.ndarray, title: str) -> np.ndarray:
    """The image [H, W, 3] below a line with a title."""
    text = _Text((image.shape[0], image.shape[1]))
    line = np.zeros((3 * text.height, image.shape[1], 3), np.uint8)
    text.write(line, title, (text.height, 2 * text.height))
    return np.vstack((line, image))


class _Text:
    """OpenCV's font at a size that suits an image of (H, W)."""

    def __init__(self, size: Tuple[int, int]) -> None:
        self._scale = max(0.36, min(size[0] / 900, size[1] / 1200))
        self._weight = 1 if self._scale < 0.8 else 2
        self.height = self._size("H")[1]

    def width(self, text: str) -> int:
        """Width of a text, in pixels."""
        return self._size(text)[0]

    def write(self, canvas: np.ndarray, text: str, at: Tuple[int, int]) -> None:
        """Write a text whose lower left corner is at (x, y)."""
        cv2.putText(canvas, _drawable(text), at, cv2.FONT_HERSHEY_SIMPLEX, self._scale, TEXT, self._weight, cv2.LINE_AA)

    def _size(self, text: str) -> Tuple[int, int]:
        width, height = cv2.getTextSize(_drawable(text), cv2.FONT_HERSHEY_SIMPLEX, self._scale, self._weight)[0]
        return int(width), int(height)


def _drawable(text: str) -> str:
    """Text that OpenCV takes: half of a surrogate pair makes it crash, and a NUL ends the text."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def _shade(canvas: np.ndarray, box: Tuple[int, int, int, int]) -> None:
    """Darken a rectangle, so that text on it is readable on any frame."""
    left, top, right, bottom = (max(value, 0) for value in box)
    part = canvas[top:bottom, left:right]
    if part.size:
        panel = np.empty_like(part)
        panel[:] = PANEL
        canvas[top:bottom, left:right] = cv2.addWeighted(part, 0.35, panel, 0.65, 0)


def _draw_corners(canvas: np.ndarray, box: Box, thickness: int) -> None:
    """Draw the corners of a box alone, which hide less of the frame."""
    left, top = max(int(box.left), 0), max(int(box.top), 0)
    right, bottom = min(int(box.right), canvas.shape[1]) - 1, min(int(box.bottom), canvas.shape[0]) - 1
    reach = max(min(right - left, bottom - top) // 8, 4)
    for x, across in ((left, reach), (right, -reach)):
        for y, down in ((top, reach), (bottom, -reach)):
            corner = np.array([(x + across, y), (x, y), (x, y + down)], np.int32)
            cv2.polylines(canvas, [corner], False, WHITE, thickness, cv2.LINE_AA)


def _side(joint: str) -> Colour:
    side = joint.lower().partition("_")[0]
    return LEFT if side in ("left", "l") else RIGHT if side in ("right", "r") else CENTRE
