"""What a dataset on disk says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastnas.errors import FastnasError


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
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    splits: tuple[str, ...]
    layout: str
    source: str

    def missing(self, path: Path) -> FastnasError:
        """The error of a file or folder that is not there."""
        return FastnasError(
            f"{self.title}: {path} is not there; get it from {self.source} (the layout: fastnas data check {self.name})"
        )

    def find(self, *candidates: Path) -> Path:
        """The first of `candidates` that exists.

        Raises:
            FastnasError: none does; it names the first.
        """
        for path in candidates:
            if path.exists():
                return path
        raise self.missing(candidates[0])
