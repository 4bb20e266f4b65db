"""Watching a search: a live table in a terminal, a line per candidate elsewhere, JSON lines, TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fastnas.events import EventWriter
from fastnas.models.genotype import Genotype
from fastnas.search.driver import Search, View
from fastnas.search.history import Record, rank

RECENT = 8
"""Rows of the live table."""
MEAN_OF = 20
"""The running mean is over so many rewards."""
PACE_OF = 20
"""Candidates per hour are over so many candidates."""


@dataclass(frozen=True)
class Summary:
    """A search in a few numbers.

    Attributes:
        candidates: recorded so far.
        best: the record of the highest reward, if there is one.
        mean: of the last 20 rewards.
        stop_rate: share of the trained candidates that ended after stage 1.
        per_hour: candidates per hour, by the last 20.
        reused, failed, refused: how many.
    """

    candidates: int
    best: Record | None
    mean: float | None
    stop_rate: float | None
    per_hour: float | None
    reused: int
    failed: int
    refused: int

    @classmethod
    def of(cls, records: Sequence[Record], since: float = 0.0) -> Summary:
        """The summary of a history; the pace counts what was finished after `since` alone."""
        rewards = [r.reward for r in records if r.reward is not None]
        status = [r.status for r in records]
        trained = [s for s in status if s in ("done", "stopped")]
        times = [since, *(r.finished for r in records if r.finished > since)][-PACE_OF - 1 :] if since else []
        pace = (len(times) - 1) / max(times[-1] - times[0], 1e-3) * 3600 if len(times) > 1 else None
        return cls(
            candidates=len(records),
            best=best_record(records),
            mean=sum(rewards[-MEAN_OF:]) / len(rewards[-MEAN_OF:]) if rewards else None,
            stop_rate=trained.count("stopped") / len(trained) if trained else None,
            per_hour=pace,
            reused=status.count("reused"),
            failed=status.count("failed"),
            refused=status.count("refused"),
        )


def best_record(records: Sequence[Record]) -> Record | None:
    """The highest reward: of those that went through all stages, if any did."""
    return min((record for record in records if record.status in ("done", "stopped")), key=rank, default=None)


class Views:
    """Several views as one."""

    def __init__(self, *views: View) -> None:
        self.views = views

    def preparing(self, what: str, done: int, count: int) -> None:
        """See `View`."""
        for view in self.views:
            view.preparing(what, done, count)

    def stage(self, number: int, genotype: Genotype, stage: str) -> None:
        """See `View`."""
        for view in self.views:
            view.stage(number, genotype, stage)

    def finished(self, record: Record) -> None:
        """See `View`."""
        for view in self.views:
            view.finished(record)


class Terminal:
    """The view for people; a context manager. Where the output is no terminal it prints lines.

    Attributes:
        search: set once there is one.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.search: Search | None = None
        self._since = time.time()
        self._work = ""
        self._share: float | None = None
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)
        self._last_line = 0.0

    def __enter__(self) -> Terminal:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def preparing(self, what: str, done: int, count: int) -> None:
        """See `View`."""
        self._work, self._share = f"preparing: {what}, {done} of {count}", done / max(count, 1)
        now = time.monotonic()
        if not self.console.is_terminal and (now - self._last_line > 5 or done >= count):
            self.console.print(self._work)
            self._last_line = now

    def stage(self, number: int, genotype: Genotype, stage: str) -> None:
        """See `View`."""
        self._work, self._share = f"candidate {number}, {stage}: {genotype}", None

    def finished(self, record: Record) -> None:
        """See `View`."""
        if not self.console.is_terminal and self.search is not None:
            summary = Summary.of(self.search.run.records, self._since)
            self.console.print(f"{_line(record)}; {' · '.join(self._facts(summary))}", soft_wrap=True)

    def _facts(self, summary: Summary) -> list[str]:
        assert self.search is not None
        facts = [f"{summary.candidates}{_of(self.search.settings.candidates)} candidates"]
        if summary.best is not None:
            facts.append(f"best {summary.best.reward:.3f} (candidate {summary.best.proposal.number})")
        if summary.mean is not None:
            facts.append(f"mean of the last {MEAN_OF} {summary.mean:.3f}")
        if summary.stop_rate is not None:
            facts.append(f"stopped {summary.stop_rate:.0%}")
        facts += [f"{count} {name}" for name in ("reused", "refused", "failed") if (count := getattr(summary, name))]
        if summary.per_hour is not None:
            facts.append(f"{summary.per_hour:.0f} per hour")
        if (left := seconds_left(self.search, summary)) is not None:
            facts.append(f"{clock(left)} left")
        return facts

    def _render(self) -> Group:
        parts: list[Any] = []
        if self.search is not None:
            table = Table(box=None, padding=(0, 1), expand=False)
            for name in ("candidate", "ended", "stage 1", "stage 2", "reward", "seconds", "genotype"):
                table.add_column(name, justify="left" if name in ("ended", "genotype") else "right", no_wrap=True)
            for record in self.search.run.records[-RECENT:]:
                table.add_row(*_row(record))
            summary = Summary.of(self.search.run.records, self._since)
            bar = ProgressBar(total=1.0, completed=self.search.progress, width=60)
            parts += [table, Text(" · ".join(self._facts(summary)), style="bold"), bar]
        elif self._share is not None:
            parts.append(ProgressBar(total=1.0, completed=self._share, width=60))
        return Group(*parts, Text(self._work, style="dim", overflow="ellipsis", no_wrap=True))


class JsonLines:
    """Every event as one JSON object per line on stdout."""

    def __init__(self, write: Callable[[str], None] = click.echo) -> None:
        self.write = write

    def preparing(self, what: str, done: int, count: int) -> None:
        """See `View`."""
        self.write(json.dumps({"event": "preparing", "what": what, "done": done, "count": count}))

    def stage(self, number: int, genotype: Genotype, stage: str) -> None:
        """See `View`."""
        self.write(json.dumps({"event": "stage", "number": number, "genotype": genotype.to_list(), "stage": stage}))

    def finished(self, record: Record) -> None:
        """See `View`."""
        self.write(json.dumps({"event": "candidate", **json.loads(record.to_json())}))


class TensorBoard:
    """Rewards and times by candidate, into `FOLDER/tensorboard`; a context manager."""

    def __init__(self, folder: Path, records: Sequence[Record]) -> None:
        self._writer = EventWriter(folder, purge_step=len(records))
        done = (r.reward for r in records if r.status == "done" and r.reward is not None)
        self._best: float | None = max(done, default=None)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def preparing(self, what: str, done: int, count: int) -> None:
        """Nothing to draw yet."""

    def stage(self, number: int, genotype: Genotype, stage: str) -> None:
        """Nothing to draw yet."""

    def finished(self, record: Record) -> None:
        """See `View`."""
        values = {"reward": record.reward, "reward/stage1": record.stage1, "reward/stage2": record.stage2}
        values |= {f"seconds/{name}": value for name, value in record.seconds.items()}
        values |= {f"scores/{name}": value for name, value in record.scores.items() if record.reused is None}
        values["staleness"] = record.staleness
        if record.status == "done" and record.reward is not None:
            self._best = max(record.reward, self._best or 0.0)
            values["reward/best"] = self._best
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, record.proposal.number)


def seconds_left(search: Search, summary: Summary) -> float | None:
    """By the budget in time and the pace; None while nothing is known."""
    left = []
    settings = search.settings
    if settings.hours is not None:
        left.append(settings.hours * 3600 - search.seconds)
    if settings.candidates is not None and summary.per_hour:
        left.append((settings.candidates - summary.candidates) / summary.per_hour * 3600)
    return max(min(left), 0.0) if left else None


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _of(count: int | None) -> str:
    return "" if count is None else f" of {count}"


def _line(record: Record) -> str:
    number = record.proposal.number
    if record.reward is None:
        return f"candidate {number} {record.status}: {record.reason}"
    again = "" if record.reused is None else f" of candidate {record.reused}"
    time = f" in {sum(record.seconds.values()):.1f} s" if record.seconds else ""
    return f"candidate {number} {record.status}, reward {record.reward:.3f}{again}{time}"


def _row(record: Record) -> list[str]:
    def figure(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    ended = record.status if record.reused is None else f"{record.status} {record.reused}"
    numbers = [figure(record.stage1), figure(record.stage2), figure(record.reward)]
    seconds = f"{sum(record.seconds.values()):.1f}" if record.seconds else ""
    return [str(record.proposal.number), ended, *numbers, seconds, str(record.genotype)]
