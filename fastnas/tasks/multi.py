"""Several tasks of one network: each has its own channels of the output, its own loss, decoding and metrics.

Nekrasov et al., "Real-time joint semantic segmentation and depth estimation using asymmetric annotations", 2019, share
encoder and decoder among tasks and train them on data that have the labels of one task each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastnas.tasks import Multi, SingleTask, channels_of
from fastnas.tasks.base import Batch, Metrics, Pixels, Score, Size, TaskHead
from fastnas.tasks.visualise import draw

LOSS_WEIGHTS = {"segmentation": 1.0, "pose": 100.0, "depth": 0.5}
"""Weights of the tasks' losses, by kind, unless others are given.

With them masks of people, depths of rooms and joints have gradients of about the same norm at the features that the
classifier reads.
"""


class Part(NamedTuple):
    """One of the tasks, its head, and its channels of the output."""

    task: SingleTask
    head: TaskHead
    channels: slice


class MultiHead(TaskHead):
    """Several tasks.

    Args:
        task: the tasks.
        heads: of the tasks, in their order.
        weights: kind of a task -> weight of its loss.
    """

    task: Multi

    def __init__(self, task: Multi, heads: Sequence[TaskHead], weights: Mapping[str, float]) -> None:
        self.task, self.weights = task, weights
        channels = channels_of(task)
        self.parts = {
            each.kind: Part(each, head, channels[each.kind]) for each, head in zip(task.tasks, heads, strict=True)
        }

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The weighted sum of the tasks' losses, each the mean over what is labelled for it in the batch."""
        losses = [self.weights[kind] * part.head.loss(logits[:, part.channels], batch) for kind, part in self._items()]
        return torch.stack(losses).sum()

    def taught(self, batch: Batch) -> Tensor | None:
        """The teachers' outputs for all channels; NaN for a task that the samples have none of."""
        found = [part.head.taught(batch) for _, part in self._items()]
        known = next((outputs for outputs in found if outputs is not None), None)
        if known is None:
            return None
        planes = [known.new_full((len(known), task.outputs, *known.shape[2:]), math.nan) for task in self.task.tasks]
        return torch.cat([plane if own is None else own for own, plane in zip(found, planes, strict=True)], 1)

    def distillation(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of the tasks' mean squared differences."""
        losses = [
            self.weights[kind] * part.head.distillation(logits[:, part.channels], targets[:, part.channels])
            for kind, part in self._items()
        ]
        return torch.stack(losses).sum()

    def decode(self, logits: Tensor, size: Size) -> dict[str, Tensor]:
        """The predictions of all tasks, by kind."""
        return {kind: part.head.decode(logits[:, part.channels], size) for kind, part in self._items()}

    def truth(self, sample: Batch) -> dict[str, Tensor]:
        """The labels that the sample has, by kind of task."""
        return {kind: part.head.truth(sample) for kind, part in self._items() if part.task.label in sample}

    def mirror(self, logits: Tensor) -> Tensor:
        """Every task's logits mirrored as that task does."""
        return torch.cat([part.head.mirror(logits[:, part.channels]) for _, part in self._items()], 1)

    def metrics(self) -> MultiMetrics:
        """The metrics of all tasks."""
        return MultiMetrics(self)

    def score(self, values: Mapping[str, float]) -> Score:
        """The mean over the tasks of mean IoU, delta1 and the share of joints (or AP): all of them from 0 to 1."""
        return Score("mean_score", values["mean_score"], True)

    def draw(self, image: Tensor, prediction: Mapping[str, Tensor]) -> Pixels:
        """Classes and skeleton over the image, depth beside it; of those tasks that the prediction has."""
        return draw(image, prediction, self.task)

    def _items(self) -> list[tuple[str, Part]]:
        return list(self.parts.items())


class MultiMetrics(Metrics):
    """The metrics of every task, over the batches that have its labels; their names begin with the task's kind."""

    def __init__(self, head: MultiHead) -> None:
        super().__init__(head.decode)
        self.head = head
        self.parts = {kind: part.head.metrics() for kind, part in head.parts.items()}

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Accumulate the logits [N, K, h, w] of those tasks whose labels the batch has."""
        for kind, metrics in self._labelled(batch):
            metrics.update(logits[:, self.head.parts[kind].channels], batch)

    def add(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Accumulate the predictions of those tasks whose labels the batch has."""
        for kind, metrics in self._labelled(batch):
            metrics.add(prediction[kind], batch)

    def merge(self, other: MultiMetrics) -> None:
        """Add the other's counts, task by task."""
        for kind, metrics in self.parts.items():
            metrics.merge(other.parts[kind])

    def compute(self) -> dict[str, float]:
        """Every metric of every task, such as `segmentation/mean_iou` and `depth/delta1`, and `mean_score`."""
        metrics: dict[str, float] = {}
        scores = []
        for kind, part in self.parts.items():
            values = part.compute()
            metrics |= {f"{kind}/{name}": value for name, value in values.items()}
            # RMSE has no upper bound; delta1 is the share of pixels whose depth is right within a quarter.
            scores.append(values["delta1"] if kind == "depth" else self.head.parts[kind].head.score(values).value)
        return {"mean_score": math.fsum(scores) / len(scores), **metrics}

    def _labelled(self, batch: Batch) -> list[tuple[str, Metrics]]:
        return [(kind, each) for kind, each in self.parts.items() if self.head.parts[kind].task.label in batch]
