"""From the network's output to class ids, joints or metres.

Training, evaluation, the camera and the exported `peaks` all decode heatmaps as `joints` does.

Shapes: N batch, K classes, J joints, h and w the output's height and width.
"""

from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple

import numpy as np

from fastnas.jetson.system.opencv import import_cv2

if TYPE_CHECKING:
    from fastnas.jetson.sidecar import Output

Decoder = Callable[[np.ndarray], Any]

SIGMA = 8
"""Standard deviation, in pixels of the input, of the Gaussians that heatmaps are trained to show."""

LOWEST = 1e-3
"""Lower values of a heatmap count as this one: their logarithm is noise, or does not exist."""

FLATTEST = 1e-3
"""Least curvature of a peak, as a share of the Gaussian's: rounding errors would move flatter ones."""


def decoder_for(output: "Output", size: Optional[Tuple[int, int]] = None) -> Decoder:
    """The function that reads an output array: `labels`, `joints` or `metres`, as the sidecar's `decode` says.

    Args:
        output: of the sidecar.
        size: (H, W) of the class ids, see `labels`.
    """
    if output.decode in ("logits", "labels"):
        return lambda array: labels(array, size)
    if output.decode == "heatmaps":
        return lambda array: joints(array, output.stride)[0]
    if output.decode == "peaks":
        return lambda array: to_pixels(array, output.stride)[0]
    return metres


def labels(array: np.ndarray, size: Optional[Tuple[int, int]] = None) -> np.ndarray:
    """Class ids, uint8 [h, w], of logits [1, K, h, w] or of class ids [1, h, w].

    Args:
        array: what the network gives.
        size: (H, W) to which logits are interpolated first, as evaluation does; None is their own, which is faster.
    """
    if array.ndim == 3:
        return array[0].astype(np.uint8)
    if size is None:
        return highest(array[0])
    cv2 = import_cv2()
    return highest(np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in array[0]]))


def highest(planes: np.ndarray) -> np.ndarray:
    """For each cell the number of the highest of at most 255 planes [K, h, w], the first of equals, as uint8 [h, w].

    NumPy's arg-max would read memory against its order, and take eight times as long.
    """
    from_end = np.arange(len(planes), 0, -1, dtype=np.uint8)[:, None, None]
    ids = np.subtract(np.uint8(len(planes)), ((planes == planes.max(0)).view(np.uint8) * from_end).max(0))
    # Where a value is NaN, which is above everything, none equals the highest.
    return ids if ids.max() < len(planes) else planes.argmax(0).astype(np.uint8)


def joints(heatmaps: np.ndarray, stride: int) -> np.ndarray:
    """Joints, float32 [N, J, 3] of (x, y, score), x and y in pixels of the input, of heatmaps [N, J, h, w].

    The logarithm of a Gaussian is a parabola, so along each axis the parabola through the highest cell and the cells
    `peak_step` before and after it has its top at the Gaussian's centre (the idea of DARK: Zhang et al.,
    "Distribution-aware coordinate representation for human pose estimation", 2020). At the edge of the map, where one
    of the two is missing, the joint is at the highest cell. The score is that cell's value.
    """
    batch, count, height, width = heatmaps.shape
    maps = heatmaps.reshape(batch * count, height * width)
    highest, step = maps.argmax(1), peak_step(stride)
    cells = np.stack(np.divmod(highest, width)[::-1], 1)
    inside = (cells >= step) & (cells < (width - step, height - step))
    # Of every map the cells left, above, right and below, and the highest itself: one look-up for all.
    shifts = np.array((-step, -step * width, step, step * width, 0))
    around = (np.arange(len(maps)) * maps.shape[1] + highest)[:, None] + shifts
    values = maps.ravel().take(around, mode="clip")
    logs = np.log(np.maximum(values, LOWEST))
    before, after, peak = logs[:, :2], logs[:, 2:4], logs[:, 4:]
    top = (after - before) * (step / 2) / np.maximum(2 * peak - before - after, FLATTEST)
    found = np.concatenate((cells + inside * top, values[:, 4:]), 1)
    return to_pixels(found.reshape(batch, count, 3), stride)


def peak_step(stride: int) -> int:
    """Cells from a peak to the two points that its parabola goes through: the Gaussian's standard deviation.

    Nearer points differ less and are spoilt more by noise; farther ones are low and may be outside the map.
    """
    return max(round(SIGMA / stride), 1)


def to_pixels(peaks: np.ndarray, stride: int) -> np.ndarray:
    """Joints with x and y in pixels of the input, of peaks [N, J, 3] of (x, y, score) in cells of `stride` pixels."""
    found = np.array(peaks, np.float32)
    found[..., :2] = (found[..., :2] + 0.5) * stride - 0.5
    return found


def metres(array: np.ndarray) -> np.ndarray:
    """Depth, float32 [h, w] in metres, of an output [1, 1, h, w]."""
    return array[0, 0]
