"""Data loaders whose order and random transforms depend on the seed, the epoch and the position alone.

The key of a sample is (epoch, index), and its random transform is seeded by (seed, epoch, index). So neither the number
of loader processes nor the place where a run was interrupted changes the batches.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from fastnas.data import DenseDataset
from fastnas.data.transforms import Tensors, collate, worker_init
from fastnas.errors import FastnasError
from fastnas.tasks import Task, tasks_of

Key = tuple[int, int]


def derived_seed(*parts: int) -> int:
    """A seed of 63 bits that depends on every part and their order."""
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class SeededSamples(Dataset[Tensors]):
    """Samples of one or several datasets, each transformed with its own seed; keys are (epoch, index).

    Where some samples come with a teacher's outputs, those without get unknown ones (NaN), so that they share batches.
    """

    def __init__(self, datasets: list[DenseDataset], transform: v2.Transform, seed: int) -> None:
        self.dataset: Dataset[Any] = datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)
        self.transform, self.seed = transform, seed
        self.length = sum(len(dataset) for dataset in datasets)
        taught = {dataset.task for dataset in datasets if dataset.taught}
        self.unknown = {f"teacher_{task.label}": torch.full((task.outputs, 1, 1), math.nan) for task in taught}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Key) -> Tensors:
        epoch, index = key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, epoch, index))
            sample: Tensors = self.transform({**self.unknown, **self.dataset[index]})
        return sample


def by_task(datasets: Iterable[DenseDataset], task: Task) -> list[list[DenseDataset]]:
    """The training datasets of a network, in a list for each of its tasks that any of them has labels for.

    Raises:
        FastnasError: one has labels for another task.
    """
    found: dict[Task, list[DenseDataset]] = {each: [] for each in tasks_of(task)}
    for dataset in datasets:
        own = dataset.task
        if own not in found:
            has = f"{dataset.name} has the task {own.kind} with {own.outputs} outputs"
            raise FastnasError(f"{has}, but the model has {task.kind} with {task.outputs} outputs")
        found[own].append(dataset)
    return [group for group in found.values() if group]


class _Failure(str):
    """The text of an error, as a batch: a loader process would print its traceback into the message."""


class _Reported(Dataset[Any]):
    """Samples, or the error of a sample that cannot be read."""

    def __init__(self, samples: Dataset[Tensors]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Tensors | FastnasError:
        try:
            return self.samples[key]
        except FastnasError as error:
            return error


def _collate(samples: list[Tensors | FastnasError]) -> Tensors | _Failure:
    try:
        whole = []
        for sample in samples:
            if isinstance(sample, FastnasError):
                raise sample
            whole.append(sample)
        return collate(whole)
    except FastnasError as error:
        return _Failure(error)


class _Loader(DataLoader[Tensors]):
    """A loader that raises the errors of its processes as they were: one line with the file and the reason."""

    def __init__(self, samples: Dataset[Tensors], workers: int, **options: Any) -> None:
        super().__init__(
            _Reported(samples),
            num_workers=workers,
            collate_fn=_collate,
            worker_init_fn=worker_init if workers else None,
            **options,
        )

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, _Failure):
                raise FastnasError(batch)
            yield batch


@contextmanager
def killed_loaders_named() -> Iterator[None]:
    """Name the cause where a loader process is killed, in all code that runs while there are some.

    PyTorch raises its error wherever the main process is at that moment, not only where it waits for a batch.

    Raises:
        FastnasError: a loader process was killed.
    """
    try:
        yield
    except RuntimeError as error:
        messages: list[str] = []
        cause: BaseException | None = error
        while cause is not None:
            messages.append(str(cause))
            cause = cause.__cause__ or cause.__context__
        if not messages[0].startswith("DataLoader worker"):
            raise
        found = re.search(r"killed by signal: (.+?)\.", " ".join(messages))
        how = "ended" if found is None else f"was killed ({found[1]})"
        if how == "was killed (Bus error)":
            advice = "for lack of shared memory: take --workers 0, or start the container with a larger --shm-size"
        else:
            advice = "most often for lack of memory: lower --workers or the batch"
        raise FastnasError(f"a data loader process {how}, {advice}") from error


class EpochBatches(Sampler[list[Key]]):
    """The batches of one epoch, shuffled by (seed, epoch), from batch `start` on; a last incomplete batch is left out.

    Args:
        groups: samples of each group, which are numbered one group after the other. All groups get the same share of
            the samples of an epoch, in turn: small ones come several times, of large ones some are left out.
        batch: samples of a batch over all processes.
        seed: of the order.
        rank, world: this process takes every `world`-th sample of a batch, from `rank` on.
    """

    def __init__(self, groups: Sequence[int], batch: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch % world:
            raise FastnasError(f"a batch of {batch} cannot be divided among {world} processes")
        self.groups, self.length = list(groups), sum(groups)
        if self.length < batch:
            raise FastnasError(
                f"the training data has {self.length} samples, fewer than one batch of {batch}: lower batch"
            )
        self.batch, self.seed, self.rank, self.world = batch, seed, rank, world
        self.epoch, self.start = 0, 0

    @property
    def steps(self) -> int:
        """Batches of a whole epoch."""
        return self.length // self.batch

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        order = self._order()
        for step in range(self.start, self.steps):
            indices = order[step * self.batch : (step + 1) * self.batch]
            yield [(self.epoch, index) for index in indices[self.rank :: self.world]]

    def _order(self) -> list[int]:
        """The samples of the epoch: of each group in turn as many as there are processes, so that each gets of all."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        count, first, columns = len(self.groups), 0, []
        share = -(-self.length // (count * self.world)) * self.world
        for size in self.groups:
            rounds = [torch.randperm(size, generator=generator) for _ in range(-(-share // size))]
            columns.append(first + torch.cat(rounds)[:share])
            first += size
        turns = torch.stack(columns).view(count, -1, self.world).transpose(0, 1)
        order: list[int] = turns.flatten()[: self.length].tolist()
        return order


def train_loader(samples: SeededSamples, batches: EpochBatches, workers: int) -> DataLoader[Tensors]:
    """The loader of one epoch; set `batches.epoch` and `batches.start` before iterating."""
    return _Loader(samples, workers, batch_sampler=batches, pin_memory=torch.cuda.is_available())


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
    return _Loader(_Transformed(dataset, transform, range(rank, len(dataset), world)), workers, batch_size=batch)
