"""A look at a dataset on disk: what is there, what is broken, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastnas.data import describe, open_dataset
from fastnas.data.base import DenseDataset, Sample
from fastnas.data.description import MissingData
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE, Depth, Pose, Segmentation

Track = Callable[[Iterable[int], str], Iterable[int]]
"""Passes indices on while it shows how far they are; gets a title."""


@dataclass
class SplitReport:
    """One split.

    Attributes:
        split: its name.
        samples: how many there are.
        official: how many the published dataset has, where that is known.
        sizes: "WxH" and the number of samples, the most frequent first.
        labels: of the samples read whole. Segmentation: the share of each class among labelled pixels, and of ignored
            pixels among all (`ignored`). Pose: the share of people with this joint labelled. Depth: `nearest`, `mean`
            and `farthest` metres, and the share of pixels `missing`.
        decoded: how many samples were read whole.
        problems: what is broken, one line each.
        absent: what is not there, so that there is no split; "" where it is.
    """

    split: str
    samples: int = 0
    official: int | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    labels: dict[str, float] = field(default_factory=dict)
    decoded: int = 0
    problems: list[str] = field(default_factory=list)
    absent: str = ""


@dataclass
class Report:
    """All splits of a dataset, with its expected layout and where to get it."""

    name: str
    title: str
    root: str
    task: str
    splits: list[SplitReport]
    layout: str
    source: str

    @property
    def ok(self) -> bool:
        """Something is there, and nothing of it is broken."""
        return any(one.samples for one in self.splits) and not any(one.problems for one in self.splits)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(self), "ok": self.ok}


def check_dataset(
    name: str,
    root: Path | None,
    task: str | None = None,
    whole: int | None = 100,
    track: Track = lambda indices, title: indices,
) -> Report:
    """Read the headers of every sample, and some samples whole.

    Args:
        name: of the dataset.
        root: its folder.
        task: the kind of labels; None for the dataset's default.
        whole: samples of each split to read whole, spread evenly over it; None for all.
        track: shows the progress.

    Raises:
        FastnasError: no such dataset or task.
    """
    about = describe(name)
    kind = about.kind(task)
    reports = []
    for split in about.splits:
        report = SplitReport(split, official=about.counts.get(split))
        reports.append(report)
        try:
            dataset = open_dataset(name, root, split, kind)
        except MissingData as error:
            report.absent = error.fault
        except FastnasError as error:
            report.problems.append(str(error))
        else:
            kind = dataset.task.kind
            _look(dataset, report, whole, track)
    return Report(name, about.title, str(root or ""), kind, reports, about.layout, about.source)


def _look(dataset: DenseDataset, report: SplitReport, whole: int | None, track: Track) -> None:
    count = report.samples = len(dataset)
    chosen = set(range(count) if whole is None else np.linspace(0, count - 1, min(whole, count)).astype(int).tolist())
    sizes: Counter[str] = Counter()
    labels = _LABELS[type(dataset.task)](dataset)
    for index in track(range(count), f"{dataset.name} {dataset.split}"):
        try:
            width, height = dataset.size(index)
            sizes[f"{width}x{height}"] += 1
            if index in chosen:
                labels.add(dataset[index])
                report.decoded += 1
        except FastnasError as error:
            report.problems.append(str(error))
    report.sizes = dict(sizes.most_common())
    report.labels = labels.shares() if report.decoded else {}


class _Classes:
    def __init__(self, dataset: DenseDataset) -> None:
        assert isinstance(dataset.task, Segmentation)
        self.classes, self.pixels = dataset.task.classes, np.zeros(256, dtype=np.int64)

    def add(self, sample: Sample) -> None:
        self.pixels += np.bincount(sample["mask"].numpy().ravel(), minlength=256)

    def shares(self) -> dict[str, float]:
        labelled = max(self.pixels.sum() - self.pixels[IGNORE], 1)
        shares = {name: float(self.pixels[i] / labelled) for i, name in enumerate(self.classes)}
        return {**shares, "ignored": float(self.pixels[IGNORE] / self.pixels.sum())}


class _Joints:
    def __init__(self, dataset: DenseDataset) -> None:
        assert isinstance(dataset.task, Pose)
        self.joints, self.people = dataset.task.joints, 0
        self.seen = np.zeros(len(self.joints), dtype=np.int64)

    def add(self, sample: Sample) -> None:
        self.people += 1
        self.seen += sample["visible"].numpy()

    def shares(self) -> dict[str, float]:
        return {name: float(self.seen[i] / self.people) for i, name in enumerate(self.joints)}


class _Metres:
    def __init__(self, dataset: DenseDataset) -> None:
        self.nearest, self.farthest, self.total, self.present, self.pixels = np.inf, 0.0, 0.0, 0, 0

    def add(self, sample: Sample) -> None:
        depth = sample["depth"].numpy()
        present = depth[depth > 0]
        self.pixels += depth.size
        self.present += present.size
        self.total += float(present.sum(dtype=np.float64))
        self.nearest = min(self.nearest, float(present.min(initial=np.inf)))
        self.farthest = max(self.farthest, float(present.max(initial=0)))

    def shares(self) -> dict[str, float]:
        missing = 1 - self.present / self.pixels
        if not self.present:
            return {"missing": missing}
        mean = self.total / self.present
        return {"nearest": self.nearest, "mean": mean, "farthest": self.farthest, "missing": missing}


_LABELS: dict[type, type[_Classes] | type[_Joints] | type[_Metres]] = {
    Segmentation: _Classes,
    Pose: _Joints,
    Depth: _Metres,
}
