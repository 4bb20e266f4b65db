"""Evaluation of a predictor on a dataset.

A `Predictor` is any function from normalised images [N, 3, H, W] to logits [N, K, h, w]: a network in evaluation mode,
the same at several scales, or a deployed artifact.

Shapes: N batch, K outputs, H and W the input's sides, h and w the output's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastnas.data import DenseDataset
from fastnas.data.transforms import eval_transform
from fastnas.normalisation import IMAGENET, Normalisation
from fastnas.tasks import Pose
from fastnas.tasks.base import Batch, Metrics, TaskHead, flip_test, upsample
from fastnas.tasks.registry import head_for
from fastnas.train.loaders import eval_loader, killed_loaders_named

Predictor = Callable[[Tensor], Tensor]
MULTIPLE = 32
"""Sides of evaluated images are padded to multiples of it, the deepest stride."""
POSE_BATCH = 16
"""Crops of people, which are of one size, are evaluated in batches; other images one by one."""


@killed_loaders_named()
def evaluate(
    predict: Predictor,
    dataset: DenseDataset,
    size: tuple[int, int] | None,
    device: torch.device,
    *,
    normalisation: Normalisation = IMAGENET,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    watch: Callable[[Batch, Tensor], None] | None = None,
    metrics: Metrics | None = None,
) -> Metrics:
    """The task's metrics over a dataset.

    Args:
        predict: what is evaluated.
        dataset: with labels.
        size: input (H, W) of people's crops; None for whole images, which keep their sizes.
        device: where the predictor takes its images.
        normalisation: in which it takes them.
        workers: loader processes.
        rank, world: count every `world`-th sample from `rank` on, to be merged with the other processes' metrics.
        watch: called with each batch and its logits, on the device.
        metrics: continues with these, of the network's task; None begins with those of the dataset's.

    Raises:
        FastnasError: a sample cannot be read, or a loader process was killed.
    """
    batch_size = POSE_BATCH if isinstance(dataset.task, Pose) and size is not None else 1
    transform = eval_transform(dataset.task, size, multiple=MULTIPLE, normalisation=normalisation)
    metrics = metrics or head_for(dataset.task).metrics()
    with torch.inference_mode():
        for batch in eval_loader(dataset, transform, batch_size, workers, rank, world):
            moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
            logits = predict(moved["image"]).float()
            metrics.update(logits, moved)
            if watch is not None:
                watch(moved, logits)
    return metrics


class ImageScore(NamedTuple):
    """The score of one image by its name."""

    name: str
    score: float


def image_scores(head: TaskHead, batch: Batch, logits: Tensor) -> Iterator[ImageScore]:
    """The score of each image of a batch alone, NaN where it has no label."""
    for name, one, output in images_of(batch, logits):
        metrics = head.metrics()
        metrics.update(output, one)
        yield ImageScore(name, head.score(metrics.compute()).value)


def images_of(batch: Batch, logits: Tensor) -> Iterator[tuple[str, Batch, Tensor]]:
    """The images of a batch as batches of one: name, labels and logits."""
    for i, name in enumerate(batch["name"]):
        yield name, {key: value[i : i + 1] for key, value in batch.items()}, logits[i : i + 1]


def flipped(predict: Predictor, head: TaskHead) -> Predictor:
    """The mean of the logits for an image and for its mirror image (the pose tables' flip test)."""
    return lambda images: flip_test(predict, images, head)


def at_scales(predict: Predictor, scales: Sequence[float]) -> Predictor:
    """Segmentation at several scales: the classes' mean probability, at the input's size.

    Each scaled image is rounded to sides that are multiples of 32.
    """

    def run(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        total = torch.zeros((), device=images.device)
        for scale in scales:
            scaled = upsample(images, (_round(height * scale), _round(width * scale)))
            total = total + upsample(predict(scaled), (height, width)).softmax(1)
        return total / len(scales)

    return run


def for_json(values: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics with None for NaN, which JSON does not have."""
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def _round(side: float) -> int:
    return max(round(side / MULTIPLE), 1) * MULTIPLE
