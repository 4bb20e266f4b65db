"""Views of a search: a live table in a terminal, a line per candidate elsewhere, JSON lines, TensorBoard."""

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
from fastnas.search.driver import Search, View
from fastnas.search.history import EVALUATED, Candidate, Record, best_record

RECENT = 8
"""Rows of the live table."""
WINDOW = 20
"""Number of latest candidates in the running mean of the rewards, and in the candidates per hour."""


@dataclass(frozen=True)
class Summary:
    """Statistics of a search.

    Attributes:
        candidates: recorded so far.
        best: the best record, if there is one; see `best_record`.
        mean: of the latest rewards.
        stop_rate: share of the evaluated candidates that the stop rule ended after stage 1.
        per_hour: candidates per hour, of the latest.
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
        """The summary of a history; candidates per hour count those that finished after `since`, seconds since 1970."""
        rewards = [r.reward for r in records if r.reward is not None][-WINDOW:]
        status = [r.status for r in records]
        evaluated = sum(map(status.count, EVALUATED))
        times = [since, *(r.finished for r in records if r.finished > since)][-WINDOW - 1 :] if since else []
        per_hour = (len(times) - 1) / max(times[-1] - times[0], 1e-3) * 3600 if len(times) > 1 else None
        return cls(
            candidates=len(records),
            best=best_record(records),
            mean=sum(rewards) / len(rewards) if rewards else None,
            stop_rate=status.count("stopped") / evaluated if evaluated else None,
            per_hour=per_hour,
            reused=status.count("reused"),
            failed=status.count("failed"),
            refused=status.count("refused"),
        )


class Views(View):
    """Several views as one."""

    def __init__(self, *views: View) -> None:
        self.views = views

    def preparing(self, what: str, done: int, count: int) -> None:
        """See `View`."""
        for view in self.views:
            view.preparing(what, done, count)

    def stage(self, candidate: Candidate, stage: str) -> None:
        """See `View`."""
        for view in self.views:
            view.stage(candidate, stage)

    def finished(self, record: Record) -> None:
        """See `View`."""
        for view in self.views:
            view.finished(record)


class Terminal(View):
    """A live table, or lines where the output is no terminal; a context manager.

    Attributes:
        search: set after the preparation.
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

    def stage(self, candidate: Candidate, stage: str) -> None:
        """See `View`."""
        self._work, self._share = f"candidate {candidate.number}, {stage}: {candidate.genotype}", None

    def finished(self, record: Record) -> None:
        """See `View`."""
        if not self.console.is_terminal and self.search is not None:
            summary = Summary.of(self.search.run.records, self._since)
            self.console.print(f"{_line(record)}; {' · '.join(self._facts(summary))}", soft_wrap=True)

    def _facts(self, summary: Summary) -> list[str]:
        assert self.search is not None
        facts = [f"{summary.candidates}{_of(self.search.settings.candidates)} candidates"]
        if summary.best is not None:
            facts.append(f"best {summary.best.reward:.3f} (candidate {summary.best.candidate.number})")
        if summary.mean is not None:
            facts.append(f"mean of the last {WINDOW} {summary.mean:.3f}")
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


class JsonLines(View):
    """Every event as one JSON object per line on stdout."""

    def __init__(self, write: Callable[[str], None] = click.echo) -> None:
        self.write = write

    def preparing(self, what: str, done: int, count: int) -> None:
        """See `View`."""
        self.write(json.dumps({"event": "preparing", "what": what, "done": done, "count": count}))

    def stage(self, candidate: Candidate, stage: str) -> None:
        """See `View`."""
        about = {"number": candidate.number, "genotype": candidate.genotype.to_list()}
        self.write(json.dumps({"event": "stage", **about, "stage": stage}))

    def finished(self, record: Record) -> None:
        """See `View`."""
        self.write(json.dumps({"event": "candidate", **json.loads(record.to_json())}))


class TensorBoard(View):
    """Rewards and times by candidate, into `FOLDER/tensorboard`; a context manager."""

    def __init__(self, folder: Path, records: Sequence[Record]) -> None:
        self._writer = EventWriter(folder, purge_step=len(records))
        self._best = best_record(records)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def finished(self, record: Record) -> None:
        """See `View`."""
        values = {"reward": record.reward, "reward/stage1": record.stage1, "reward/stage2": record.stage2}
        values |= {f"seconds/{name}": value for name, value in record.seconds.items()}
        values |= {f"scores/{name}": value for name, value in record.scores.items() if record.reused is None}
        self._best = best_record([record, *([self._best] if self._best else [])])
        values |= {"staleness": record.staleness, "reward/best": self._best.reward if self._best else None}
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, record.candidate.number)


def seconds_left(search: Search, summary: Summary) -> float | None:
    """Estimated from the budget and the candidates per hour; None while nothing is known."""
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
    number = record.candidate.number
    if record.reward is None:
        return f"candidate {number} {record.status}: {record.reason}"
    again = "" if record.reused is None else f" of candidate {record.reused}"
    time = f" in {sum(record.seconds.values()):.1f} s" if record.seconds else ""
    return f"candidate {number} {record.status}, reward {record.reward:.3f}{again}{time}"


def _row(record: Record) -> list[str]:
    ended = record.status if record.reused is None else f"{record.status} {record.reused}"
    rewards = ("" if value is None else f"{value:.3f}" for value in (record.stage1, record.stage2, record.reward))
    seconds = f"{sum(record.seconds.values()):.1f}" if record.seconds else ""
    return [str(record.candidate.number), ended, *rewards, seconds, str(record.candidate.genotype)]
