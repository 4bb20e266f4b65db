"""What a dataset on disk says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastnas.errors import FastnasError


class MissingData(FastnasError):
    """A dataset, or a split of it, is not there; `fault` says what is not, the message also where to get it."""

    def __init__(self, fault: str, about: About) -> None:
        super().__init__(
            f"{about.title}: {fault}; get it from {about.source} (the layout: fastnas data check {about.name})"
        )
        self.fault = fault


@dataclass(frozen=True)
class About:
    """The description of a dataset, for error messages and `fastnas data check`.

    Attributes:
        name: what `open_dataset` knows it by.
        title: its proper name.
        kinds: the tasks it has labels for, the default first.
        splits: its parts.
        layout: the files that are read, as a tree.
        source: where to get it.
        counts: samples of the splits as published.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    splits: tuple[str, ...]
    layout: str
    source: str
    counts: Mapping[str, int] = field(default_factory=dict)

    def missing(self, path: Path | None) -> MissingData:
        """The error of a file or folder that is not there, or of a dataset whose folder was not given."""
        return MissingData(f"{path} is not there" if path else "its folder is needed (--root DIR)", self)

    def kind(self, task: str | None) -> str:
        """The kind of labels asked for, or the default.

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
