"""The interface that every task implements for training, search, evaluation and visualisation.

`fastnas.tasks.registry.head_for(task)` turns the small value that names a task (`fastnas.tasks`) into a `TaskHead`:
everything that is computed from a network's output, the logits [N, K, h, w] at the decoder's resolution.

    head = head_for(dataset.task)
    loss = head.loss(logits, batch)                      # upsampling to the target happens inside
    metrics = head.metrics()
    for batch in loader:
        metrics.update(network(batch["image"]), batch)
    values = metrics.compute()                           # {"mean_iou": 0.78, ...}
    name, value, higher_is_better = head.score(values)   # the metric that picks the best epoch
    pixels = head.draw(image, one_of(head.decode(logits, size), 0))      # uint8 RGB with a legend

Shapes: N batch, K outputs, J joints, H and W the input's sides, h and w the output's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fastnas.tasks import Task

Batch = Mapping[str, Any]
"""What `fastnas.data.transforms.collate` makes; a single sample has the same keys."""

Prediction = Any
"""A prediction or label: a Tensor; of several tasks the Tensors by kind of task."""

Size = tuple[int, int]
Pixels = npt.NDArray[np.uint8]
"""A drawing: uint8 RGB [height, width, 3]."""


class Score(NamedTuple):
    """The metric by which models of a task are ranked."""

    name: str
    value: float
    higher_is_better: bool


class Metrics(ABC):
    """Metrics of a task, accumulated over batches; independent of the order and size of the batches."""

    def __init__(self, decode: Callable[[Tensor, Size], Prediction]) -> None:
        self.decode = decode

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Accumulate the logits [N, K, h, w] for `batch`."""
        height, width = batch["image"].shape[-2:]
        self.add(self.decode(logits, (height, width)), batch)

    @abstractmethod
    def add(self, prediction: Prediction, batch: Batch) -> None:
        """Accumulate the predictions of `TaskHead.decode` for `batch`."""

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Add the counts of `other`, of the same class: so processes join their shares of a dataset."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Every metric so far; NaN where no sample had its labels."""


class TaskHead(ABC):
    """Loss, decoding, metrics and drawing for the output of a network.

    Attributes:
        task: what the network predicts.
    """

    task: Task

    def taught(self, batch: Batch) -> Tensor | None:
        """The teacher's outputs that came with the samples, [N, K, h', w'], NaN where unknown; None without any."""
        outputs: Tensor | None = batch.get(f"teacher_{self.task.label}")
        return outputs

    def distillation(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean squared difference between logits and a teacher's, both [N, K, h, w], over those that are not NaN.

        0, with gradients of 0, where all are NaN.
        """
        known = targets.isfinite()
        error = torch.where(known, logits.float() - targets, 0.0)
        return error.square().sum() / known.sum().clamp(min=1)

    @abstractmethod
    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The scalar loss of logits [N, K, h, w], float32. Where nothing is labelled it is 0, with gradients of 0."""

    @abstractmethod
    def decode(self, logits: Tensor, size: Size) -> Prediction:
        """The prediction for inputs of `size`.

        Returns:
            Class ids int64 [N, H, W], metres float32 [N, H, W], joints float32 [N, J, 3] (x, y, confidence), or a dict
            of these by kind of task.
        """

    @abstractmethod
    def truth(self, sample: Batch) -> Prediction:
        """The label of a sample, in the form of one prediction of `decode`, for `draw`."""

    def mirror(self, logits: Tensor) -> Tensor:
        """Logits of mirrored images as logits of the images themselves, and back."""
        return logits.flip(-1)

    @abstractmethod
    def metrics(self) -> Metrics:
        """New metrics of the task."""

    @abstractmethod
    def score(self, values: Mapping[str, float]) -> Score:
        """The metric of `Metrics.compute` that ranks models."""

    @abstractmethod
    def draw(self, image: Tensor, prediction: Prediction) -> Pixels:
        """A prediction or label drawn on its image, uint8 RGB [3, H, W]; the result has a legend."""


def one_of(prediction: Prediction, index: int) -> Prediction:
    """The prediction for one image of a batch."""
    if isinstance(prediction, Mapping):
        return {kind: value[index] for kind, value in prediction.items()}
    return prediction[index]


def flip_test(network: Callable[[Tensor], Tensor], images: Tensor, head: TaskHead) -> Tensor:
    """The mean of the logits for the images [N, 3, H, W] and for their mirror images, mirrored back."""
    return (network(images) + head.mirror(network(images.flip(-1)))) / 2


def upsample(logits: Tensor, size: Size) -> Tensor:
    """Logits [N, K, h, w] in float32 and bilinearly at `size`, pixel edges aligned."""
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
