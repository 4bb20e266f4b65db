"""The description of a dataset on disk: its splits, layout and source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastnas.errors import FastnasError


class MissingData(FastnasError):
    """A dataset or a split is missing. `problem` says what is; the message also says where to get it."""

    def __init__(self, problem: str, info: DatasetInfo) -> None:
        super().__init__(f"{info.title}: {problem}; get it from {info.source} (layout: fastnas data check {info.name})")
        self.problem = problem


@dataclass(frozen=True)
class DatasetInfo:
    """The description of a dataset, for error messages and `fastnas data check`.

    Attributes:
        name: for `open_dataset`.
        title: for people.
        kinds: of the tasks that it has labels for, the default first.
        splits: their names.
        lists: the list file that any further split is read from, such as `SPLIT.txt`; empty where there are none.
        layout: the files that are read, as a tree.
        source: where to get it.
        counts: samples per split, as published.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    splits: tuple[str, ...]
    layout: str
    source: str
    counts: Mapping[str, int] = field(default_factory=dict)
    lists: str = ""

    def missing(self, path: Path | None) -> MissingData:
        """The error for a missing file or folder; None where the dataset's folder was not given."""
        return MissingData(f"{path} is not there" if path else "its folder is needed (--root DIR)", self)

    def no_split(self, split: str) -> FastnasError:
        """The error for a split that there is not."""
        more = f", and any of a list {self.lists}" if self.lists else ""
        return FastnasError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}{more}")

    def kind(self, task: str | None) -> str:
        """The kind of task `task`, or the default.

        Raises:
            FastnasError: the dataset has no such labels.
        """
        kind = task or self.kinds[0]
        if kind not in self.kinds:
            raise FastnasError(f"{self.name} has no labels for {kind}, only for {', '.join(self.kinds)}")
        return kind

    def find(self, *candidates: Path) -> Path:
        """The first of `candidates` that exists.

        Raises:
            MissingData: none does; it names the first.
        """
        for path in candidates:
            if path.exists():
                return path
        raise self.missing(candidates[0])

    def find_list(self, split: str, *candidates: Path) -> Path:
        """The first of `candidates` that is a file: the list of a split.

        Raises:
            FastnasError: none is; for a published split it is `MissingData`, and names the first.
        """
        for path in candidates:
            if path.is_file():
                return path
        raise self.missing(candidates[0]) if split in self.splits else self.no_split(split)
