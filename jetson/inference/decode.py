"""From the network's output to class ids, joints or metres."""

from typing import Any, Callable

import numpy as np

from fastnas.jetson.sidecar import Output

Decoder = Callable[[np.ndarray], Any]


def decoder_for(output: Output) -> Decoder:
    """The function that reads an output array: `labels`, `joints` or `metres`, as the sidecar's `decode` says."""
    if output.decode in ("logits", "labels"):
        return labels
    if output.decode == "heatmaps":
        return lambda array: joints(array, output.stride)
    if output.decode == "peaks":
        return lambda array: to_pixels(array[0], output.stride)
    return metres


def labels(array: np.ndarray) -> np.ndarray:
    """Class ids, uint8 [h, w], of logits [1, K, h, w] or of class ids [1, h, w]."""
    ids = array[0].argmax(0) if array.ndim == 4 else array[0]
    return ids.astype(np.uint8)


def joints(array: np.ndarray, stride: int) -> np.ndarray:
    """Joints, float32 [J, 3] of (x, y, score), x and y in pixels of the input, of heatmaps [1, J, h, w].

    A peak is moved a quarter of a cell towards its higher neighbour, as is the custom with heatmaps of stride 4.
    """
    maps = array[0]
    count, height, width = maps.shape
    peaks = maps.reshape(count, -1).argmax(1)
    found = np.empty((count, 3), np.float32)
    for joint, peak in enumerate(peaks):
        y, x = divmod(int(peak), width)
        row, column = maps[joint, y], maps[joint, :, x]
        shift_x = np.sign(row[x + 1] - row[x - 1]) / 4 if 0 < x < width - 1 else 0.0
        shift_y = np.sign(column[y + 1] - column[y - 1]) / 4 if 0 < y < height - 1 else 0.0
        found[joint] = x + shift_x, y + shift_y, row[x]
    return to_pixels(found, stride)


def to_pixels(peaks: np.ndarray, stride: int) -> np.ndarray:
    """Joints with x and y in pixels of the input, of peaks [J, 3] of (x, y, score) in cells of that many pixels."""
    found = np.array(peaks, np.float32)
    found[:, :2] = (found[:, :2] + 0.5) * stride - 0.5
    return found


def metres(array: np.ndarray) -> np.ndarray:
    """Depth, float32 [h, w] in metres, of an output [1, 1, h, w]."""
    return array[0, 0]
