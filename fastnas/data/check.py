"""The check of a dataset on disk: statistics of its labels, and what is broken or missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastnas.data import describe, open_dataset
from fastnas.data.base import DenseDataset
from fastnas.data.images import read_orientation
from fastnas.data.info import MissingData
from fastnas.data.progress import Track
from fastnas.data.statistics import label_statistics
from fastnas.errors import FastnasError


@dataclass
class SplitReport:
    """One split.

    Attributes:
        split: its name.
        samples: their number.
        official: the number in the published dataset, where known.
        sizes: "WxH" -> number of samples, the most frequent first.
        labels: of the decoded samples. Segmentation: the share of each class among labelled pixels, and of ignored
            pixels among all (`(ignored)`). Pose: the share of people with this joint labelled. Depth: `nearest`, `mean`
            and `farthest` metres, and the share of pixels `missing`.
        decoded: the number of decoded samples.
        rotated: images with an EXIF orientation; they are read as a camera shows them.
        problems: errors, one line each.
        warnings: what is probably a mistake, one line each.
        notes: what is changed when samples are read, and how joints are mirrored, one line each.
        absent: the missing file or folder for which the split cannot be opened; "" where it can.
    """

    split: str
    samples: int = 0
    official: int | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    labels: dict[str, float] = field(default_factory=dict)
    decoded: int = 0
    rotated: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
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
    split: str = "",
    decode: int | None = 100,
    track: Track = lambda things, title: things,
    **options: Any,
) -> Report:
    """Read the headers of every sample, and decode some samples.

    Args:
        name: of the dataset.
        root: its folder.
        task: the kind of labels; None for the dataset's default.
        split: the one to check; empty for all that the dataset is published with.
        decode: number of samples of each split to decode, evenly spread; None for all.
        track: shows the progress.
        options: of the dataset, for `open_dataset`.

    Raises:
        FastnasError: no such dataset or task.
    """
    info = describe(name)
    kind = info.kind(task)
    reports = []
    for each in (split,) if split else info.splits:
        report = SplitReport(each, official=info.counts.get(each))
        reports.append(report)
        try:
            dataset = open_dataset(name, root, each, kind, **options)
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
    notes: Counter[str] = Counter()
    seen: set[Path] = set()
    labels = label_statistics(dataset)
    for index in track(range(count), f"{dataset.name} {dataset.split}"):
        try:
            width, height = dataset.size(index, lambda note: notes.update([note]))
            sizes[f"{width}x{height}"] += 1
            path = dataset.image_path(index)
            if path is not None and path not in seen:
                seen.add(path)
                report.rotated += read_orientation(path) != 1
            if index in chosen:
                labels.add(index, dataset[index])
                report.decoded += 1
        except FastnasError as error:
            report.problems.append(str(error))
    report.sizes = dict(sizes.most_common())
    report.notes = [f"{note} ({times} samples)" for note, times in notes.most_common()]
    if report.decoded:
        report.labels, found = labels.shares(), labels.findings()
        report.problems += found.problems
        report.warnings += found.warnings
        report.notes += found.notes
