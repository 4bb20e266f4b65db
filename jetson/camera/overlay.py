"""What the networks saw, drawn on the picture, with OpenCV and NumPy alone. Colours are B, G, R."""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from fastnas.jetson.inference.networks import Seen
from fastnas.jetson.inference.preprocess import import_cv2
from fastnas.jetson.inference.tracking import SURE, Box
from fastnas.jetson.sidecar import Artifact

Colour = Tuple[int, int, int]

PANEL, INK, WHITE = (24, 20, 18), (235, 235, 235), (255, 255, 255)
LEFT, RIGHT, CENTRE = (0, 140, 255), (255, 150, 0), (90, 200, 60)
"""The body's sides, in three colours that colour-blind eyes tell apart."""

NOTHING = ("background", "void", "unlabelled", "unlabeled")
"""Classes that are not painted."""

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
WIDE = 1.6
"""From this width to height on, depth stands below the camera's picture instead of beside it."""

SMALLEST_SHARE = 0.002
"""Share of the picture from which a class is named in the legend."""


class Drawer:
    """Makes one picture of the camera's and of all that was seen in it: classes and skeleton on it, depth beside it."""

    def __init__(self, artifacts: Dict[str, Artifact]) -> None:
        self._cv2 = import_cv2()
        self._tasks = {kind: artifact.sidecar.task for kind, artifact in artifacts.items()}

    def __call__(self, picture: np.ndarray, seen: Seen, alpha: float) -> np.ndarray:
        """The finished picture; the camera's is not written to.

        Args:
            picture: the camera's, uint8 [H, W, 3].
            seen: what is drawn; what is None is not.
            alpha: strength of the classes' colours, 0 to 1.
        """
        canvas = picture.copy()
        if seen.segmentation is not None:
            canvas = self._classes(canvas, seen.segmentation, alpha)
        if seen.pose is not None:
            self._skeleton(canvas, seen.pose, seen.box)
        if seen.depth is None:
            return canvas
        below = canvas.shape[1] >= WIDE * canvas.shape[0]
        return np.concatenate([canvas, self._depth(seen.depth, canvas.shape[:2])], 0 if below else 1)

    def _classes(self, canvas: np.ndarray, ids: np.ndarray, alpha: float) -> np.ndarray:
        """Colours over the picture. They and their strength are blurred and enlarged, not the ids: cheap, no stairs."""
        cv2, task = self._cv2, self._tasks["segmentation"]
        colours = [(c[2], c[1], c[0]) for c in task["colours"]]
        strength = np.zeros((256, 1), np.float32)
        strength[: len(colours), 0] = [0.0 if name.lower() in NOTHING else alpha for name in task["classes"]]
        table = np.zeros((256, 3), np.float32)
        table[: len(colours)] = colours
        paint = (table * strength).astype(np.uint8)[ids]
        keep = np.repeat(255 * (1 - strength), 3, 1).astype(np.uint8)[ids]
        size = canvas.shape[1::-1]
        paint, keep = (
            cv2.resize(cv2.blur(small, (3, 3)), size, interpolation=cv2.INTER_LINEAR) for small in (paint, keep)
        )
        canvas = cv2.add(cv2.multiply(canvas, keep, scale=1 / 255), paint)
        shares = np.bincount(ids.ravel(), minlength=256)[: len(colours)] / ids.size
        entries = [
            (task["classes"][index], colours[index])
            for index in np.flatnonzero(shares >= SMALLEST_SHARE)
            if strength[index, 0] > 0
        ]
        self._legend(canvas, entries)
        return canvas

    def _depth(self, metres: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
        """Metres as colours, near yellow and far dark blue, by the logarithm: near things differ most. With a scale."""
        cv2, task = self._cv2, self._tasks["depth"]
        near, far = max(task["minimum"], task["maximum"] / 20), task["maximum"]

        def share(values: Any) -> Any:
            return np.log(np.maximum(values, near) / near) / np.log(far / near)

        # What is no distance (not a number, not positive) is drawn as the farthest.
        shades = (255 * (1 - np.minimum(share(np.where(metres > 0, metres, far)), 1))).astype(np.uint8)
        shades = cv2.resize(shades, size[::-1], interpolation=cv2.INTER_LINEAR)
        width, text = max(size[1] // 40, 8), _Text(cv2, size)
        left, top, bottom = size[1] - 5 * width - text.width("10 m") // 2, size[0] // 10, size[0] - size[0] // 10
        panel = cv2.applyColorMap(shades, cv2.COLORMAP_VIRIDIS)
        _shade(cv2, panel, (left - width, top // 2, size[1] - width // 2, size[0] - top // 2))
        bar = np.linspace(255, 0, bottom - top).astype(np.uint8)[:, None].repeat(width, 1)
        panel[top:bottom, left : left + width] = cv2.applyColorMap(bar, cv2.COLORMAP_VIRIDIS)
        for tick in TICKS:
            if near * 0.999 <= tick <= far * 1.001:
                y = int(top + share(tick) * (bottom - top - 1))
                cv2.line(panel, (left + width, y), (left + width + width // 3, y), INK, 1, cv2.LINE_AA)
                text.write(panel, "{:g} m".format(tick), (left + width + width // 2, y + text.height // 2))
        return panel

    def _skeleton(self, canvas: np.ndarray, joints: np.ndarray, box: Any) -> None:
        cv2, task = self._cv2, self._tasks["pose"]
        names = task["joints"]
        thickness = max(2, canvas.shape[1] // 240)
        sure = joints[:, 2] >= SURE
        shift = 4  # OpenCV takes coordinates in sixteenths of a pixel
        limit = 1 << 14  # and few of them outside the picture
        points = [tuple(int(v * 2**shift) for v in np.clip(joint, -limit, limit)) for joint in joints[:, :2]]
        if box is not None and sure.any():
            _corners(cv2, canvas, box, max(1, thickness // 2))
        for one, other in task["skeleton"]:
            if sure[one] and sure[other]:
                sides = _side(names[one]), _side(names[other])
                colour = sides[0] if sides[0] == sides[1] else CENTRE
                cv2.line(canvas, points[one], points[other], PANEL, thickness + 2, cv2.LINE_AA, shift)
                cv2.line(canvas, points[one], points[other], colour, thickness, cv2.LINE_AA, shift)
        for name, point, visible in zip(names, points, sure):
            if visible:
                cv2.circle(canvas, point, int(1.4 * thickness) << shift, WHITE, -1, cv2.LINE_AA, shift)
                cv2.circle(canvas, point, thickness << shift, _side(name), -1, cv2.LINE_AA, shift)

    def _legend(self, canvas: np.ndarray, entries: Sequence[Tuple[str, Colour]]) -> None:
        """The classes' names with their colours, in columns at the bottom left; as many as fit."""
        cv2, (height, width) = self._cv2, canvas.shape[:2]
        text = _Text(cv2, (height, width))
        line, margin = int(text.height * 2), text.height
        rows = max(min(len(entries), (height // 2 - 2 * margin) // line), 1)
        columns = [entries[start : start + rows] for start in range(0, len(entries), rows)]
        x = 2 * margin
        places: List[Tuple[int, int, str, Colour]] = []
        top = height - 2 * margin - rows * line
        for column in columns:
            advance = max(text.width(name) for name, _ in column) + 3 * margin
            if x + advance > width - margin:
                break
            places += [(x, top + row * line + line // 2, name, colour) for row, (name, colour) in enumerate(column)]
            x += advance
        if not places:
            return
        _shade(cv2, canvas, (margin, top - margin // 2, x, height - 2 * margin + margin // 2))
        for left, middle, name, colour in places:
            half = int(text.height * 0.6)
            cv2.rectangle(canvas, (left, middle - half), (left + 2 * half, middle + half), colour, -1)
            text.write(canvas, name, (left + int(1.8 * margin), middle + text.height // 2))


class _Text:
    """OpenCV's letters in a size that suits a picture of (H, W)."""

    def __init__(self, cv2: Any, size: Tuple[int, int]) -> None:
        self._cv2, self._font = cv2, cv2.FONT_HERSHEY_SIMPLEX
        self._scale = max(0.36, min(size[0] / 900, size[1] / 1200))
        self._weight = 1 if self._scale < 0.8 else 2
        self.height = int(cv2.getTextSize("H", self._font, self._scale, self._weight)[0][1])

    def width(self, text: str) -> int:
        """Pixels that a text takes."""
        return int(self._cv2.getTextSize(text, self._font, self._scale, self._weight)[0][0])

    def write(self, canvas: np.ndarray, text: str, at: Tuple[int, int]) -> None:
        """Write with the lower left corner at (x, y)."""
        self._cv2.putText(canvas, text, at, self._font, self._scale, INK, self._weight, self._cv2.LINE_AA)


def _shade(cv2: Any, canvas: np.ndarray, box: Tuple[int, int, int, int]) -> None:
    """Darken a rectangle, so that letters on it can be read whatever is behind."""
    left, top, right, bottom = (max(value, 0) for value in box)
    part = canvas[top:bottom, left:right]
    if part.size:
        panel = np.empty_like(part)
        panel[:] = PANEL
        canvas[top:bottom, left:right] = cv2.addWeighted(part, 0.35, panel, 0.65, 0)


def _corners(cv2: Any, canvas: np.ndarray, box: Box, thickness: int) -> None:
    """The corners of a box: where the network looked, without hiding it."""
    left, top = max(int(box.left), 0), max(int(box.top), 0)
    right, bottom = min(int(box.right), canvas.shape[1]) - 1, min(int(box.bottom), canvas.shape[0]) - 1
    reach = max(min(right - left, bottom - top) // 8, 4)
    for x, across in ((left, reach), (right, -reach)):
        for y, down in ((top, reach), (bottom, -reach)):
            cv2.line(canvas, (x, y), (x + across, y), WHITE, thickness, cv2.LINE_AA)
            cv2.line(canvas, (x, y), (x, y + down), WHITE, thickness, cv2.LINE_AA)


def _side(joint: str) -> Colour:
    side = joint.lower().partition("_")[0]
    return LEFT if side in ("left", "l") else RIGHT if side in ("right", "r") else CENTRE
