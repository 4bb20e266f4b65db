"""Semantic segmentation: cross-entropy, the most likely class, intersection over union."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fastnas.tasks import IGNORE, Segmentation
from fastnas.tasks.base import Batch, Metrics, Pixels, Score, Size, TaskHead, upsample
from fastnas.tasks.visualise import draw


class SegmentationHead(TaskHead):
    """One of K classes for every pixel."""

    task: Segmentation

    def __init__(self, task: Segmentation) -> None:
        self.task = task

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over the pixels of `mask` [N, H, W] that are not ignored."""
        mask = batch["mask"].long()
        total = F.cross_entropy(upsample(logits, mask.shape[-2:]), mask, ignore_index=IGNORE, reduction="sum")
        return total / (mask != IGNORE).sum().clamp(min=1)

    def decode(self, logits: Tensor, size: Size) -> Tensor:
        """The most likely class of every pixel, int64 [N, H, W]."""
        return upsample(logits, size).argmax(1)

    def truth(self, sample: Batch) -> Tensor:
        """The mask [H, W]."""
        mask: Tensor = sample["mask"]
        return mask.long()

    def metrics(self) -> SegmentationMetrics:
        """Intersection over union and accuracies."""
        return SegmentationMetrics(self)

    def score(self, values: Mapping[str, float]) -> Score:
        """Mean IoU."""
        return Score("mean_iou", values["mean_iou"], True)

    def draw(self, image: Tensor, prediction: Tensor) -> Pixels:
        """The classes' colours over the image, and a legend of those that occur."""
        return draw(image, prediction, self.task)


class SegmentationMetrics(Metrics):
    """The confusion matrix of a dataset and what follows from it. Ignored pixels count nowhere."""

    def __init__(self, head: SegmentationHead) -> None:
        super().__init__(head.decode)
        self.classes = head.task.classes
        self.confusion = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)
        """Pixels of true class (row) and predicted class (column), [K, K]."""

    def add(self, prediction: Tensor, batch: Batch) -> None:
        """Count class ids [N, H, W] against `mask` [N, H, W]."""
        mask = batch["mask"].long()
        valid, count = mask != IGNORE, len(self.classes)
        pairs = mask[valid] * count + prediction[valid]
        self.confusion += torch.bincount(pairs, minlength=count * count).view(count, count).cpu()

    def merge(self, other: SegmentationMetrics) -> None:
        """Add the other's pixels."""
        self.confusion += other.confusion

    def compute(self, background: bool = True) -> dict[str, float]:
        """Fractions of 1, over the whole dataset rather than image by image.

        Args:
            background: False leaves class 0 out of every mean, as the search's reward does (Section 4.1 of the paper).
                Its pixels still count as errors of the other classes.

        Returns:
            `iou/CLASS` of each class, NaN if no pixel has it and none was predicted; `mean_iou` over the others;
            `frequency_weighted_iou`, weighted by each class's true pixels; `mean_accuracy`, the mean over the classes
            that occur of the fraction of their pixels that was found; `pixel_accuracy`.
        """
        first = 0 if background else 1
        hits = self.confusion.diag().double()[first:]
        true = self.confusion.sum(1).double()[first:]
        predicted = self.confusion.sum(0).double()[first:]
        iou, accuracy = hits / (true + predicted - hits), hits / true
        metrics = {
            "mean_iou": iou.nanmean(),
            "frequency_weighted_iou": (iou.nan_to_num() * true).sum() / true.sum(),
            "mean_accuracy": accuracy.nanmean(),
            "pixel_accuracy": hits.sum() / true.sum(),
        }
        metrics |= {f"iou/{name}": value for name, value in zip(self.classes[first:], iou, strict=True)}
        return {name: float(value) for name, value in metrics.items()}
