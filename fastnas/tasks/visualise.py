"""Predictions drawn on their images, by the code that draws them for the camera (`fastnas.jetson.inference.draw`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from torch import Tensor

from fastnas.jetson.inference import draw as drawing
from fastnas.tasks import Task, tasks_of

if TYPE_CHECKING:
    from fastnas.tasks.base import Pixels

MIN_SIDE = 480
"""Smaller images are enlarged until their longer side has this many pixels, so that legends are readable."""


def draw(image: Tensor, prediction: Tensor | Mapping[str, Tensor], task: Task) -> Pixels:
    """A prediction or label of one image, drawn on it or beside it.

    Args:
        image: uint8 RGB [3, H, W].
        prediction: class ids [H, W], metres [H, W], or joints [J, 3] of (x, y, score) in pixels of the image; several
            of them by kind of task.
        task: that the prediction is of.

    Returns:
        uint8 RGB, at least `MIN_SIDE` wide or high.
    """
    frame = np.ascontiguousarray(image.cpu().numpy().astype(np.uint8)[::-1].transpose(1, 2, 0))  # B, G, R
    zoom = max(-(-MIN_SIDE // max(frame.shape)), 1)
    frame = np.asarray(cv2.resize(frame, None, fx=zoom, fy=zoom), np.uint8)
    found = {task.kind: prediction} if isinstance(prediction, Tensor) else prediction
    arrays: dict[str, Any] = {}
    for kind, value in found.items():
        arrays[kind] = value.cpu().numpy().astype(np.uint8 if kind == "segmentation" else np.float32)
        if kind == "pose":
            arrays[kind][:, :2] = (arrays[kind][:, :2] + 0.5) * zoom - 0.5
    drawn = drawing.draw(frame, {each.kind: each.to_dict() for each in tasks_of(task)}, **arrays)
    return np.ascontiguousarray(drawn[..., ::-1])
