"""The check of a dataset on disk: statistics of its labels, and what is broken or missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastnas.data import describe, open_dataset
from fastnas.data.base import DenseDataset, Sample
from fastnas.data.info import MissingData
from fastnas.data.progress import Track
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE, Pose, Segmentation


@dataclass
class SplitReport:
    """One split.

    Attributes:
        split: its name.
        samples: their number.
        official: the number in the published dataset, where known.
        sizes: "WxH" -> number of samples, the most frequent first.
        labels: of the decoded samples. Segmentation: the share of each class among labelled pixels, and of ignored
            pixels among all (`ignored`). Pose: the share of people with this joint labelled. Depth: `nearest`, `mean`
            and `farthest` metres, and the share of pixels `missing`.
        decoded: the number of decoded samples.
        problems: errors, one line each.
        absent: the missing file or folder for which the split cannot be opened; "" where it can.
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
    """All splits of a dataset, its expected layout and its source."""

    name: str
    title: str
    root: str
    task: str
    splits: list[SplitReport]
    layout: str
    source: str

    @property
    def ok(self) -> bool:
        """Whether there are samples and no problems."""
        return any(one.samples for one in self.splits) and not any(one.problems for one in self.splits)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(self), "ok": self.ok}


def check_dataset(
    name: str,
    root: Path | None,
    task: str | None = None,
    decode: int | None = 100,
    track: Track = lambda things, title: things,
) -> Report:
    """Read the headers of every sample, and decode some samples.

    Args:
        name: of the dataset.
        root: its folder.
        task: the kind of labels; None for the dataset's default.
        decode: number of samples of each split to decode, evenly spread; None for all.
        track: shows the progress.

    Raises:
        FastnasError: no such dataset or task.
    """
    info = describe(name)
    kind = info.kind(task)
    reports = []
    for split in info.splits:
        report = SplitReport(split, official=info.counts.get(split))
        reports.append(report)
        try:
            dataset = open_dataset(name, root, split, kind)
        except MissingData as error:
            report.absent = error.problem
        except FastnasError as error:
            report.problems.append(str(error))
        else:
            kind = dataset.task.kind
            _check_split(dataset, report, decode, track)
    return Report(name, info.title, str(root or ""), kind, reports, info.layout, info.source)


def _check_split(dataset: DenseDataset, report: SplitReport, decode: int | None, track: Track) -> None:
    count = report.samples = len(dataset)
    chosen = set(range(count) if decode is None else np.linspace(0, count - 1, min(decode, count)).astype(int).tolist())
    sizes: Counter[str] = Counter()
    labels = _STATISTICS[dataset.task.kind](dataset)
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


_STATISTICS: dict[str, type[_Classes] | type[_Joints] | type[_Metres]] = {
    "segmentation": _Classes,
    "pose": _Joints,
    "depth": _Metres,
}
