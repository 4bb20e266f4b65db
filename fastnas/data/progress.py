"""A progress bar with the time left, on stderr, where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Track(Protocol):
    """Passes things on while it shows how far they are."""

    def __call__(self, things: Iterable[Any], title: str) -> Iterable[Any]:
        """`things` in their order."""


@contextmanager
def shown_progress() -> Iterator[Track]:
    """Bars for as many loops as one likes; they vanish at the end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fastnas.console import PlainConsole

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    terminal = PlainConsole(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:

        def track(things: Iterable[Any], title: str) -> Iterable[Any]:
            return progress.track(things, description=title)

        yield track
