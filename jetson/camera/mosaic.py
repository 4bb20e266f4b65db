"""The images of several cameras in one, side by side."""

import math
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.system.opencv import import_cv2


def side_by_side(images: Sequence[Optional[np.ndarray]]) -> np.ndarray:
    """Images in the order of rows, two for two to four of them, in cells of the largest one's size.

    Args:
        images: uint8 [H, W, 3] each; None stays black. One alone is returned as it is.
    """
    if len(images) == 1 and images[0] is not None:
        return images[0]
    cv2 = import_cv2()
    height, width = max((image.shape[:2] for image in images if image is not None), key=lambda size: size[0] * size[1])
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    canvas = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, image in enumerate(images):
        if image is not None:
            top, left = number // columns * height, number % columns * width
            whole = image.shape[:2] == (height, width)
            canvas[top : top + height, left : left + width] = image if whole else fit(cv2, image, (height, width))
    return canvas


def fit(cv2: Any, image: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """An image as one of (H, W): cut by a pixel, or scaled with black bars, where its size is another."""
    height, width = size
    if image.shape[0] // 2 * 2 == height and image.shape[1] // 2 * 2 == width:
        return np.ascontiguousarray(image[:height, :width])
    scale = min(height / image.shape[0], width / image.shape[1])
    small = cv2.resize(image, (int(image.shape[1] * scale) or 1, int(image.shape[0] * scale) or 1))
    fitted = np.zeros((height, width, 3), np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    fitted[top : top + small.shape[0], left : left + small.shape[1]] = small
    return fitted
