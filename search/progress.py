"""Views of a search: a live table in a terminal, a line per candidate elsewhere, JSON lines, TensorBoard."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fastnas.events import EventWriter
from fastnas.search.best import best_record
from fastnas.search.costs import UNITS, cost_points, pareto_front
from fastnas.search.driver import Search, View
from fastnas.search.history import COUNTED, EVALUATED, Candidate, Record

RECENT = 8
"""Rows of the live table."""
WINDOW = 20
"""Number of latest candidates in the running mean of the rewards, and in the candidates per hour."""


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
            self.console.print(f"{_line(record)}; {status_line(self.search, self._since)}", soft_wrap=True)

    def _render(self) -> Group:
        parts: list[Any] = []
        if self.search is not None:
            table = Table(box=None, padding=(0, 1), expand=False)
            for name in ("candidate", "ended", "stage 1", "stage 2", "reward", "seconds", "genotype"):
                table.add_column(name, justify="left" if name in ("ended", "genotype") else "right", no_wrap=True)
            for record in self.search.run.records[-RECENT:]:
                table.add_row(*_row(record))
            bar = ProgressBar(total=1.0, completed=self.search.progress, width=60)
            parts += [table, Text(status_line(self.search, self._since), style="bold"), bar]
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


def status_line(search: Search, since: float) -> str:
    """Candidates, their rewards, how they ended, and the time left.

    Args:
        search: what is summarised.
        since: seconds since 1970; the candidates per hour, and the time left, are by those that finished after it.
    """
    records, settings = search.run.records, search.settings
    counted = [record for record in records if record.status in COUNTED]
    rewards = [record.reward for record in records if record.reward is not None][-WINDOW:]
    counts = Counter(record.status for record in records)
    parts = [f"{len(counted)}{f' of {settings.candidates}' if settings.candidates else ''} candidates"]
    if best := best_record(records):
        stopped = counts["stopped"] / sum(counts[status] for status in EVALUATED)
        parts.append(f"best {best.reward:.3f} (candidate {best.candidate.number})")
        parts.append(f"mean of the last {WINDOW} {sum(rewards) / len(rewards):.3f}")
        parts.append(f"stopped {stopped:.0%}")
    parts += [f"{counts[status]} {status}" for status in ("reused", "refused", "failed") if counts[status]]
    times = [since, *(record.finished for record in counted if record.finished > since)][-WINDOW - 1 :]
    left = [] if settings.hours is None else [settings.hours * 3600 - search.seconds]
    if len(times) > 1:
        pace = max(times[-1] - times[0], 1e-3) / (len(times) - 1)
        parts.append(f"{3600 / pace:.0f} per hour")
        left += [] if settings.candidates is None else [(settings.candidates - len(counted)) * pace]
    if left:
        parts.append(f"{timedelta(seconds=max(0, round(min(left))))} left")
    return " · ".join(parts)


def front_table(records: Sequence[Record]) -> Table:
    """The Pareto front of reward and cost: of latency where it was measured, else of multiply-adds."""
    cost = "latency" if cost_points(records, "latency") else "madds"
    label, unit = UNITS[cost]
    table = Table(title=f"Pareto front of reward and {label}", title_justify="left", box=None, padding=(0, 1))
    for name in (label, "reward without cost", "candidate", "genotype"):
        table.add_column(name, justify="left" if name == "genotype" else "right", overflow="fold")
    for point in pareto_front(cost_points(records, cost)):
        candidate = point.record.candidate
        table.add_row(f"{point.cost / unit:.2f}", f"{point.reward:.3f}", str(candidate.number), str(candidate.genotype))
    return table


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
