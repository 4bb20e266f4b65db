"""Depth from one image: the inverse Huber loss, metres, the seven usual metrics.

The network's single output is the depth in metres itself, not its logarithm or inverse, since the published errors are
in metres and the loss is already gentle with small ones. A pixel of depth 0 is missing: it has no loss and no metric.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fastnas.tasks import Depth
from fastnas.tasks.base import Batch, Metrics, Pixels, Score, Size, TaskHead, upsample
from fastnas.tasks.visualise import draw


class DepthHead(TaskHead):
    """Metres for every pixel."""

    task: Depth

    def __init__(self, task: Depth) -> None:
        self.task = task

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The mean inverse Huber ("berHu") loss of the pixels whose depth is known.

        |e| up to c, and (e^2 + c^2) / 2c beyond, where c is a fifth of the batch's largest |e|
        (Laina et al., "Deeper depth prediction with fully convolutional residual networks", 2016, equation 2).
        """
        depth = batch["depth"]
        known = depth > 0
        error = torch.where(known, upsample(logits, depth.shape[-2:])[:, 0] - depth, 0.0).abs()
        threshold = (0.2 * error.max()).detach().clamp(min=1e-6)
        loss = torch.where(error <= threshold, error, (error**2 + threshold**2) / (2 * threshold))
        return loss.sum() / known.sum().clamp(min=1)

    def decode(self, logits: Tensor, size: Size) -> Tensor:
        """Metres within the task's range, float32 [N, H, W]."""
        return upsample(logits, size)[:, 0].clamp(self.task.minimum, self.task.maximum)

    def truth(self, sample: Batch) -> Tensor:
        """The depth [H, W], 0 where missing."""
        depth: Tensor = sample["depth"]
        return depth

    def metrics(self) -> DepthMetrics:
        """The seven depth metrics."""
        return DepthMetrics(self)

    def score(self, values: Mapping[str, float]) -> Score:
        """Linear RMSE, metres: less is better."""
        return Score("rmse", values["rmse"], False)

    def draw(self, image: Tensor, prediction: Tensor) -> Pixels:
        """The image beside its depth in colours, with a scale in metres."""
        return draw(image, prediction, self.task)


class DepthMetrics(Metrics):
    """The metrics of Eigen et al., "Depth map prediction from a single image", 2014, Section 4.2.

    As there, means are over all pixels of the dataset whose true depth is known and within the task's range, not over
    the images' own results.
    """

    NAMES = ("rmse", "rmse_log", "abs_rel", "sqr_rel", "delta1", "delta2", "delta3")

    def __init__(self, head: DepthHead) -> None:
        super().__init__(head.decode)
        self.task = head.task
        self.pixels = 0
        self.sums = torch.zeros(len(self.NAMES), dtype=torch.float64)

    def add(self, prediction: Tensor, batch: Batch) -> None:
        """Count metres [N, H, W] against `depth` [N, H, W]."""
        depth = batch["depth"]
        valid = (depth >= self.task.minimum) & (depth <= self.task.maximum)
        true, guess = depth[valid].double(), prediction[valid].double()
        ratio = torch.maximum(guess / true, true / guess)
        square = (guess - true) ** 2
        terms = [square, (guess / true).log() ** 2, (guess - true).abs() / true, square / true]
        terms += [(ratio < 1.25**power).double() for power in (1, 2, 3)]
        self.pixels += true.numel()
        self.sums += torch.stack([term.sum() for term in terms]).cpu()

    def merge(self, other: DepthMetrics) -> None:
        """Add the other's pixels."""
        self.pixels += other.pixels
        self.sums += other.sums

    def compute(self) -> dict[str, float]:
        """`rmse` (metres), `rmse_log` (natural logarithm), `abs_rel`, `sqr_rel` (metres), `delta1` to `delta3`.

        delta k is the fraction of pixels whose depth is right within a factor of 1.25^k.
        """
        means = self.sums / self.pixels
        means[:2] = means[:2].sqrt()
        return dict(zip(self.NAMES, means.tolist(), strict=True))
