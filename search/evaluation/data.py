"""The images of a search: training data divided into meta-train and meta-val, and the crops of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torchvision.transforms import v2

from fastnas.data.base import DenseDataset, Sample
from fastnas.data.split import meta_split
from fastnas.data.transforms import ScaleCrop, Tensors, eval_transform, to_network, train_transform, warp
from fastnas.normalisation import Normalisation
from fastnas.search.settings import SearchSettings
from fastnas.tasks import Pose, Task
from fastnas.train.settings import limited

CACHE_BYTES = 2 << 30
"""Memory for decoded samples, which every candidate reads again."""


class CachedSamples(DenseDataset):
    """A dataset whose decoded samples stay in memory, as many as fit."""

    def __init__(self, whole: DenseDataset) -> None:
        self.whole, self.name, self.split, self.task = whole, whole.name, whole.split, whole.task
        self._samples: dict[int, Sample] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Sample:
        if index in self._samples:
            return self._samples[index].copy()
        sample = self.whole[index]
        size = sum(value.nbytes for value in sample.values() if hasattr(value, "nbytes"))
        if self._bytes + size <= CACHE_BYTES:
            self._samples[index] = sample
            self._bytes += size
        return sample.copy()


@dataclass(frozen=True)
class SearchImages:
    """Meta-train, which trains candidates, and meta-val, which gives their reward (90 % and 10 % in the paper)."""

    train: DenseDataset
    val: DenseDataset

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.train.task


def open_images(settings: SearchSettings) -> SearchImages:
    """The settings' dataset, its split train where they name none, divided by the search's seed.

    Raises:
        FastnasError: the dataset is not there, or too small to divide.
    """
    train, val = meta_split(
        limited(settings.open_data(), settings.images or 0), settings.seed, settings.evaluation.validation_share
    )
    return SearchImages(CachedSamples(train), CachedSamples(val))


class _RandomCrop(v2.Transform):
    """Bring the shorter side to `short_side` times a random factor, mirror at random, and cut out a random crop."""

    def __init__(self, crop: int, short_side: int, scale: tuple[float, float]) -> None:
        super().__init__()
        self.crop, self.short_side, self.scale = (crop, crop), short_side, scale

    def forward(self, sample: Tensors) -> Tensors:
        zoom = self.short_side / min(sample["image"].shape[-2:])
        moved: Tensors = ScaleCrop(self.crop, (zoom * self.scale[0], zoom * self.scale[1]))(sample)
        return moved


class _CentreCrop(v2.Transform):
    """Bring the shorter side to `short_side` and cut out the centre."""

    def __init__(self, crop: int, short_side: int) -> None:
        super().__init__()
        self.crop, self.short_side = crop, short_side

    def forward(self, sample: Tensors) -> Tensors:
        height, width = sample["image"].shape[-2:]
        zoom = self.short_side / min(height, width)
        # The middle of the image, (side - 1) / 2 in pixel centres, goes to the middle of the crop.
        matrix = np.diag([zoom, zoom, 1.0])
        matrix[0, 2] = (self.crop - 1) / 2 - zoom * (width - 1) / 2
        matrix[1, 2] = (self.crop - 1) / 2 - zoom * (height - 1) / 2
        return warp(sample, matrix, (self.crop, self.crop))


def train_crop(
    task: Task, crop: int, short_side: int, scale: tuple[float, float], normalisation: Normalisation
) -> v2.Transform:
    """The random transform of meta-train; a pose is cropped around its person instead, `crop` a side."""
    if isinstance(task, Pose):
        return train_transform(task, (crop, crop), scale=scale, normalisation=normalisation)
    return v2.Compose([_RandomCrop(crop, short_side, scale), *to_network(normalisation)])


def val_crop(task: Task, crop: int, short_side: int, normalisation: Normalisation) -> v2.Transform:
    """The fixed transform of meta-val: the centre of the image."""
    if isinstance(task, Pose):
        return eval_transform(task, (crop, crop), normalisation=normalisation)
    return v2.Compose([_CentreCrop(crop, short_side), *to_network(normalisation)])
