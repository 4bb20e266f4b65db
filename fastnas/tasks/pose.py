"""Human pose: one heatmap per joint, decoded to points between its pixels; joints drawn as a skeleton."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fastnas.jetson.inference.decode import SIGMA, joints
from fastnas.tasks import Pose
from fastnas.tasks.base import Batch, Pixels, Score, Size, TaskHead, upsample
from fastnas.tasks.pose_metrics import PoseMetrics
from fastnas.tasks.visualise import draw

STRIDE = 4
"""Pixels of the input per pixel of a target heatmap."""


class PoseHead(TaskHead):
    """The place of J joints."""

    task: Pose

    def __init__(self, task: Pose) -> None:
        self.task = task

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The mean squared difference to the target heatmaps, over the joints that are visible and inside the crop."""
        size = _heatmap_size(batch["image"].shape[-2:])
        points = (batch["keypoints"] + 0.5) / STRIDE - 0.5
        limits = points.new_tensor([size[1], size[0]]) - 0.5
        inside = ((points >= -0.5) & (points < limits)).all(-1)
        weight = (batch["visible"] & inside).float()
        error = (upsample(logits, size) - gaussians(points, size)).square().mean((2, 3))
        return (error * weight).sum() / weight.sum().clamp(min=1)

    def decode(self, logits: Tensor, size: Size) -> Tensor:
        """Joints [N, J, 3]: x and y in pixels of the input, and the heatmap's value at the peak as confidence.

        The decoder is that of the device, on heatmaps of the network's own stride.
        """
        found = joints(logits.float().cpu().numpy(), round(size[0] / logits.shape[2]))
        return torch.from_numpy(found).to(logits.device)

    def truth(self, sample: Batch) -> Tensor:
        """The labelled joints [J, 3], confidence 1 where visible and 0 elsewhere."""
        return torch.cat([torch.as_tensor(sample["keypoints"]), sample["visible"].float()[..., None]], -1)

    def mirror(self, logits: Tensor) -> Tensor:
        """Heatmaps mirrored, left and right joints exchanged."""
        return logits.flip(-1)[:, list(self.task.mirror)]

    def metrics(self) -> PoseMetrics:
        """PCKh or PCK by joint group, and COCO's AP where the labels have an area."""
        return PoseMetrics(self.task, self.decode)

    def score(self, values: Mapping[str, float]) -> Score:
        """PCKh@0.5 where heads are measured (MPII), else AP where areas are known (COCO), else PCK@0.2."""
        name = next((name for name in ("PCKh@0.5", "AP") if name in values), "PCK@0.2")
        return Score(name, values.get(name, math.nan), True)

    def draw(self, image: Tensor, prediction: Tensor) -> Pixels:
        """The skeleton over the image; joints of low confidence are left out."""
        return draw(image, prediction, self.task)


def gaussians(points: Tensor, size: Size) -> Tensor:
    """Target heatmaps [N, J, h, w] with a Gaussian of height 1 at each of `points` [N, J, 2] (x, y), not rounded.

    Its standard deviation is that which the decoder expects, `fastnas.jetson.inference.decode.SIGMA`.
    """
    (height, width), sigma = size, SIGMA / STRIDE
    columns = torch.arange(width, device=points.device) - points[..., :1]
    rows = torch.arange(height, device=points.device) - points[..., 1:]
    across, down = (torch.exp(-(offset**2) / (2 * sigma**2)) for offset in (columns, rows))
    return down[..., :, None] * across[..., None, :]


def _heatmap_size(size: Size) -> Size:
    """The heatmap's size for an input's, at stride 4."""
    return size[0] // STRIDE, size[1] // STRIDE
