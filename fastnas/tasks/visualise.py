"""Predictions as pictures: classes, depth or a skeleton on the image, always with a legend.

Images come as uint8 RGB [3, H, W] and leave as uint8 RGB [height, width, 3], larger than they came by the legend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fastnas.tasks import IGNORE, Colour, Depth, Pose, Segmentation

if TYPE_CHECKING:
    from fastnas.tasks.base import Picture

INK, PAPER = (30, 30, 30), (255, 255, 255)
SMALLEST_SIDE = 480
"""Smaller images are enlarged until their longer side has this many pixels: a legend must be readable beside them."""
LEFT, RIGHT, CENTRE = (255, 140, 0), (0, 150, 255), (60, 200, 90)
"""The colours of the body's sides: three that colour-blind eyes tell apart."""
SURE = 0.1
"""Joints of lower confidence are not drawn."""


def draw_classes(image: Tensor, classes: Tensor, task: Segmentation) -> Picture:
    """Class ids [H, W] as colours half over the image, and the names of the classes that occur, largest first."""
    canvas, _ = _canvas(image)
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(task.colours)] = task.colours
    small = classes.cpu().numpy().astype(np.uint8)
    ids = np.asarray(cv2.resize(small, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    mixed = np.asarray(cv2.addWeighted(canvas, 0.4, palette[ids], 0.6, 0), np.uint8)
    mixed[ids == IGNORE] = canvas[ids == IGNORE]
    found, counts = np.unique(ids[ids != IGNORE], return_counts=True)
    shares = sorted(zip(counts / ids.size, found, strict=True), reverse=True)
    return _with_legend(mixed, [(f"{task.classes[i]} {_percent(share)}", task.colours[i]) for share, i in shares])


def draw_depth(image: Tensor, depth: Tensor, task: Depth) -> Picture:
    """The image beside its depth [H, W] (metres, grey where missing), and the colours' scale in metres.

    The colours span the task's range, the same in every picture, by the logarithm of depth: near things differ most.
    """
    canvas, _ = _canvas(image)
    small = depth.float().cpu().numpy()
    metres = np.asarray(cv2.resize(small, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.float32)
    picture = _depth_colours(metres, task)
    height, size = len(canvas), 14
    near, far = _scale(task)
    bar = np.geomspace(near, far, height, dtype=np.float32)[:, None].repeat(size, 1)
    side = np.full((height, 5 * size, 3), PAPER, dtype=np.uint8)
    side[:, size // 2 : size // 2 + size] = _depth_colours(bar, task)
    sheet = Image.fromarray(np.hstack([canvas, picture, side]))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    left = 2 * canvas.shape[1] + 2 * size
    for metre in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        share = np.log(metre / near) / np.log(far / near)
        if 0 <= share <= 1:
            y = share * (height - 1)
            pen.line([left - size // 2, y, left, y], fill=INK)
            pen.text(
                (left + 4, min(max(y, size / 2 + 1), height - size / 2 - 1)), f"{metre:g} m", INK, font, anchor="lm"
            )
    return np.asarray(sheet)


def draw_pose(image: Tensor, joints: Tensor, task: Pose) -> Picture:
    """Joints [J, 3] (x, y, confidence) and the bones between them, in the colours of the body's sides."""
    canvas, zoom = _canvas(image)
    centres = (joints[:, :2].cpu().numpy() + 0.5) * zoom - 0.5
    drawn = joints[:, 2].cpu().numpy() >= SURE
    colours = [_side_colour(name) for name in task.joints]
    thickness = max(2, canvas.shape[1] // 160)
    shift = 4  # OpenCV takes coordinates in sixteenths of a pixel
    points = [tuple(int(v) for v in np.round(centre * 2**shift)) for centre in centres]
    for one, other in task.skeleton:
        if drawn[one] and drawn[other]:
            colour = colours[one] if colours[one] == colours[other] else CENTRE
            cv2.line(canvas, points[one], points[other], colour, thickness, cv2.LINE_AA, shift)
    for point, colour, visible in zip(points, colours, drawn, strict=True):
        if visible:
            cv2.circle(canvas, point, int(1.5 * thickness) << shift, PAPER, cv2.FILLED, cv2.LINE_AA, shift)
            cv2.circle(canvas, point, thickness << shift, colour, cv2.FILLED, cv2.LINE_AA, shift)
    return _with_legend(canvas, [("left", LEFT), ("right", RIGHT), ("centre", CENTRE)])


def _canvas(image: Tensor) -> tuple[Picture, int]:
    """The image [3, H, W] as [H, W, 3], enlarged by a whole factor where it is small, and that factor."""
    pixels = np.ascontiguousarray(image.cpu().permute(1, 2, 0).numpy().astype(np.uint8))
    zoom = -(-SMALLEST_SIDE // max(pixels.shape))
    if zoom > 1:
        height, width = pixels.shape[:2]
        pixels = np.asarray(cv2.resize(pixels, (zoom * width, zoom * height)), np.uint8)
    return pixels, max(zoom, 1)


def _with_legend(picture: Picture, entries: list[tuple[str, Colour]]) -> Picture:
    """The picture above its legend: a swatch and a name each, as many to a row as fit."""
    height, width = picture.shape[:2]
    size = max(13, width // 45)
    font = ImageFont.load_default(size)
    places, x, row = [], size // 2, 0
    for name, _ in entries:
        advance = int(font.getlength(name)) + 3 * size
        if x + advance > width and x > size // 2:
            x, row = size // 2, row + 1
        places.append((x, row))
        x += advance
    line = int(1.6 * size)
    sheet = Image.new("RGB", (width, height + line * (row + 1)), PAPER)
    sheet.paste(Image.fromarray(picture))
    pen = ImageDraw.Draw(sheet)
    for (name, colour), (x, row) in zip(entries, places, strict=True):
        middle = height + line * row + line // 2
        pen.rectangle([x, middle - size // 2, x + size, middle + size // 2], fill=colour, outline=INK)
        pen.text((x + int(1.5 * size), middle), name, INK, font, anchor="lm")
    return np.asarray(sheet)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _depth_colours(metres: npt.NDArray[np.float32], task: Depth) -> Picture:
    """Near is yellow, far is dark blue (a map of even lightness steps); missing (0) is grey."""
    near, far = _scale(task)
    share = np.log(metres.clip(near, far) / near) / np.log(far / near)
    colours = cv2.applyColorMap(np.round(255 * (1 - share)).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    colours[metres <= 0] = 128
    return colours


def _scale(task: Depth) -> tuple[float, float]:
    """The nearest and farthest metres with a colour of their own: a wider range would leave too few to each."""
    return max(task.minimum, task.maximum / 20), task.maximum


def _side_colour(joint: str) -> Colour:
    side = joint.lower().partition("_")[0]
    return LEFT if side in ("left", "l") else RIGHT if side in ("right", "r") else CENTRE
