"""Data loaders whose order and random transforms depend on the seed, the epoch and the position alone.

The key of a sample is (epoch, index), and its random transform is seeded by (seed, epoch, index). So neither the number
of loader processes nor the place where a run was interrupted changes the batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from fastnas.data import DenseDataset
from fastnas.data.transforms import Tensors, collate, worker_init
from fastnas.errors import FastnasError

Key = tuple[int, int]


def derived_seed(*parts: int) -> int:
    """A seed of 63 bits that depends on every part and their order."""
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class SeededSamples(Dataset[Tensors]):
    """Samples of one or several datasets, each transformed with its own seed; keys are (epoch, index)."""

    def __init__(self, datasets: list[DenseDataset], transform: v2.Transform, seed: int) -> None:
        self.dataset: Dataset[Any] = datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)
        self.transform, self.seed = transform, seed
        self.length = sum(len(dataset) for dataset in datasets)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Key) -> Tensors:
        epoch, index = key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, epoch, index))
            sample: Tensors = self.transform(self.dataset[index])
        return sample


class EpochBatches(Sampler[list[Key]]):
    """The batches of one epoch, shuffled by (seed, epoch), from batch `start` on; a last incomplete batch is left out.

    Args:
        length: samples of the dataset.
        batch: samples of a batch over all processes.
        seed: of the order.
        rank, world: this process takes every `world`-th sample of a batch, from `rank` on.
    """

    def __init__(self, length: int, batch: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch % world:
            raise FastnasError(f"a batch of {batch} cannot be divided among {world} processes")
        if length < batch:
            raise FastnasError(f"the training data has {length} samples, fewer than one batch of {batch}: lower batch")
        self.length, self.batch, self.seed, self.rank, self.world = length, batch, seed, rank, world
        self.epoch, self.start = 0, 0

    @property
    def steps(self) -> int:
        """Batches of a whole epoch."""
        return self.length // self.batch

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        order = torch.randperm(
            self.length, generator=torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        ).tolist()
        for step in range(self.start, self.steps):
            indices = order[step * self.batch : (step + 1) * self.batch]
            yield [(self.epoch, index) for index in indices[self.rank :: self.world]]


def train_loader(samples: SeededSamples, batches: EpochBatches, workers: int) -> DataLoader[Tensors]:
    """The loader of one epoch; set `batches.epoch` and `batches.start` before iterating."""
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=worker_init if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


class _Transformed(Dataset[Tensors]):
    def __init__(self, dataset: DenseDataset, transform: v2.Transform, indices: range) -> None:
        self.dataset, self.transform, self.indices = dataset, transform, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensors:
        return self.transform(self.dataset[self.indices[index]])


def eval_loader(
    dataset: DenseDataset, transform: v2.Transform, batch: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader[Tensors]:
    """Every sample once and in order; with several processes, every `world`-th from `rank` on."""
    return DataLoader(
        _Transformed(dataset, transform, range(rank, len(dataset), world)),
        batch_size=batch,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=worker_init if workers else None,
    )
