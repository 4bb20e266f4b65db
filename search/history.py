"""The run folder of a search, safe to kill at any moment and to read while it grows.

    settings.json   the settings it was started with
    history.jsonl   one line per candidate, appended and flushed to disk
    controller.pt   state of the policy: tensors and plain values, replaced atomically

The process that searches holds a lock on history.jsonl, which the system releases when the process ends, however it
ends. A candidate counts once its line, newline included, is in the file; a torn last line is dropped on resuming.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from fastnas.errors import FastnasError
from fastnas.jetson.checks import COUNT, Fields, parse_json
from fastnas.jetson.errors import one_line
from fastnas.models.genotype import Genotype
from fastnas.search.settings import SearchSettings, with_learning_rate
from fastnas.storing import write_state

Status = Literal["done", "stopped", "reused", "refused", "failed"]
"""done: all stages; stopped: by the stop rule after stage 1; refused: over a limit; failed: see `reason`; reused, in
histories of earlier versions: equals an earlier candidate, whose reward it takes."""
REASON = 2000
"""Longest reason, in characters."""
EVALUATED: tuple[Status, ...] = ("done", "stopped")
"""The statuses of candidates with a reward of their own."""
COUNTED: tuple[Status, ...] = ("done", "stopped", "failed")
"""The statuses of candidates that count against the budget."""


@dataclass(frozen=True)
class Candidate:
    """An architecture that a policy proposed.

    Attributes:
        number: counts the candidates of the search from 0.
        genotype: the architecture, as sampled.
        log_prob: log-probability of its decisions under the policy that sampled them.
        version: how often that policy had been updated; the difference to now is the staleness of the reward.
        redraws: draws before this one that were known networks.
    """

    number: int
    genotype: Genotype
    log_prob: float
    version: int
    redraws: int = 0

    @cached_property
    def canonical(self) -> Genotype:
        """The representative of all genotypes of the same network, computed once."""
        return self.genotype.canonical()


@dataclass(frozen=True)
class Record:
    """The result of one candidate, a line of history.jsonl.

    Attributes:
        candidate: what was evaluated.
        status: how its evaluation ended.
        reward: what the policy learns from; None if refused or failed.
        stage1: reward after stage 1, if it got there.
        stage2: reward after stage 2, if it got there.
        rungs: rewards within stage 1 by epoch, where the stop rule asks for some.
        staleness: updates of the policy between sampling the candidate and learning from it.
        reused: number of the equal candidate whose result it takes.
        reason: why it failed or was refused.
        scores: the metrics behind the reward, and the costs (parameters, madds, latency), by name.
        seconds: time spent, by stage.
        finished: when, in seconds since 1970.

    Raises:
        ValueError: the values contradict each other, or are NaN or infinite.
    """

    candidate: Candidate
    status: Status
    reward: float | None = None
    stage1: float | None = None
    stage2: float | None = None
    rungs: dict[int, float] = field(default_factory=dict)
    staleness: int = 0
    reused: int | None = None
    reason: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    finished: float = 0.0

    def __post_init__(self) -> None:
        if self.reason is not None:  # often another package's words
            object.__setattr__(self, "reason", one_line(self.reason)[:REASON])
        if self.status not in get_args(Status):
            raise ValueError(f"status must be one of {', '.join(get_args(Status))}, not {self.status!r}")
        if (self.reward is None) != (self.status in ("refused", "failed")):
            raise ValueError(f"a candidate that is {self.status} cannot have reward {self.reward}")
        rewards = [("reward", self.reward), ("stage1", self.stage1), ("stage2", self.stage2)]
        for name, value in (*rewards, *((f"rungs.{epoch}", value) for epoch, value in self.rungs.items())):
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, not {value}")

    def to_json(self) -> str:
        """One line of strict JSON, without its newline."""
        values = {"number": self.candidate.number, "genotype": self.candidate.genotype.to_list()}
        values |= {name: getattr(self.candidate, name) for name in ("log_prob", "version", "redraws")}
        values |= {name: value for name, value in vars(self).items() if name != "candidate"}
        return json.dumps(values, allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """The inverse of `to_json`.

        Raises:
            ValueError, FastnasError: it is not such a line.
        """
        fields = Fields(parse_json(line, "the line"), "candidate")
        if unknown := sorted(set(fields.values) - _FIELDS):
            raise fields.error(f"{unknown[0]:.80}", "is unknown")
        number, version = fields.take("number", int, within=COUNT), fields.take("version", int, within=COUNT)
        genotype = Genotype.parse(fields.values.get("genotype"))
        redraws = fields.take("redraws", int, optional=True, within=COUNT) or 0
        candidate = Candidate(number, genotype, fields.take("log_prob", float), version, redraws)
        return cls(
            candidate,
            fields.take("status", str, get_args(Status)),
            reward=fields.take("reward", float, optional=True),
            stage1=fields.take("stage1", float, optional=True),
            stage2=fields.take("stage2", float, optional=True),
            rungs=_rungs(fields),
            staleness=fields.take("staleness", int, optional=True, within=COUNT) or 0,
            reused=fields.take("reused", int, optional=True, within=COUNT),
            reason=_text(fields, "reason"),
            scores=_numbers(fields, "scores"),
            seconds=_numbers(fields, "seconds"),
            finished=fields.take("finished", float, optional=True) or 0.0,
        )


_FIELDS = {field.name for group in (Candidate, Record) for field in dataclasses.fields(group)} - {"candidate"}


def _text(fields: Fields, name: str) -> str | None:
    """Any text, or None where it is absent."""
    value = fields.values.get(name)
    if value is not None and not isinstance(value, str):
        raise fields.error(name, "must be text")
    return value


def _rungs(fields: Fields) -> dict[int, float]:
    """Rewards by epoch; empty where they are absent."""
    rewards = _numbers(fields, "rungs")
    if wrong := [epoch for epoch in rewards if not (epoch.isdecimal() and 0 < int(epoch) < 10**6)]:
        raise fields.error("rungs", f"must be by epoch, not by {wrong[0]:.20}")
    return {int(epoch): value for epoch, value in rewards.items()}


def _numbers(fields: Fields, name: str) -> dict[str, float]:
    """An object of numbers; empty where it is absent."""
    values = Fields(fields.take(name, dict, optional=True) or {}, f"{fields.where}.{name}")
    return {key: values.take(key, float) for key in values.values}


class Run:
    """A run folder, locked for writing by this process. Made by `start` or `resume`; a context manager."""

    def __init__(self, folder: Path, settings: SearchSettings, file: FileIO, records: list[Record]) -> None:
        self.folder = folder
        self.settings = settings
        self.records = records
        self._file = file
        # A worker forked from the search must not keep the lock of a search that was killed.
        os.register_at_fork(after_in_child=file.close)

    @classmethod
    def start(cls, folder: str | os.PathLike[str], settings: SearchSettings) -> Run:
        """Make a new run folder, or take one whose run has no candidate yet.

        Raises:
            FastnasError: it holds a run with candidates already, finished or live, or cannot be written.
        """
        folder = Path(folder)
        with _readable_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = _lock(folder)
            # Without candidates, settings are left by a search that ended early, for instance for want of its data.
            if (folder / "settings.json").exists() and os.fstat(file.fileno()).st_size:
                file.close()
                raise FastnasError(
                    f"{folder} holds a search already; continue it with --resume, or name another folder"
                )
            settings = with_learning_rate(settings)
            run = cls(folder, settings, file, [])
            settings.save(folder)
        return run

    @classmethod
    def resume(cls, folder: str | os.PathLike[str]) -> Run:
        """Continue in a run folder, dropping a torn last line of its history.

        Raises:
            FastnasError: there is no run, another process searches in it, or it is damaged.
        """
        folder = Path(folder)
        settings = SearchSettings.load(folder)
        with _readable_errors(folder):
            file = _lock(folder)
            records, end = parse(*_content(folder))
            file.truncate(end)
        return cls(folder, settings, file, records)

    def extend(self, candidates: int | None, hours: float | None) -> None:
        """Replace the budget of the search; see `SearchSettings`."""
        self.settings = dataclasses.replace(self.settings, candidates=candidates, hours=hours)
        self.settings.save(self.folder)

    def append(self, record: Record) -> None:
        """Add a candidate to the history; when this returns, it is on disk.

        Raises:
            FastnasError: it cannot be written, for instance because the disk is full; the history is then as before.
        """
        line = memoryview((record.to_json() + "\n").encode())
        end = self._file.seek(0, os.SEEK_END)
        with _readable_errors(self.folder):
            try:
                while line:
                    line = line[self._file.write(line) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(end)
                raise
        self.records.append(record)

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the saved state of the search, which holds tensors and plain values."""
        write_state(self.folder / "controller.pt", state)

    def load_state(self) -> dict[str, Any] | None:
        """The state saved last, or None.

        Raises:
            FastnasError: the file is damaged, or holds anything but tensors and plain values.
        """
        path = self.folder / "controller.pt"
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
        except OSError as error:
            raise FastnasError(f"cannot read {path}: {error.strerror or error}") from error
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
            raise FastnasError(
                f"{path} is not a saved controller; remove it, and --resume learns anew from history.jsonl"
            ) from error
        return state

    def close(self) -> None:
        """Release the lock."""
        self._file.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_records(folder: str | os.PathLike[str]) -> list[Record]:
    """The history of a run, live or not, without a line that is being written.

    Raises:
        FastnasError: it cannot be read, or is damaged.
    """
    folder = Path(folder)
    if not (folder / "history.jsonl").is_file():
        raise FastnasError(f"{folder} is not a run folder: it has no history.jsonl")
    with _readable_errors(folder):
        return parse(*_content(folder))[0]


def _content(folder: Path) -> tuple[bytes, Path]:
    path = folder / "history.jsonl"
    return path.read_bytes(), path


def parse(data: bytes, path: Path) -> tuple[list[Record], int]:
    """The complete records of a history, and where they end, in bytes; `path` names it in error messages.

    Raises:
        FastnasError: a line is not a candidate.
    """
    end = data.rfind(b"\n") + 1
    records = []
    for number, line in enumerate(data[:end].split(b"\n")[:-1], start=1):
        try:
            records.append(Record.from_json(line))
        except (ValueError, FastnasError) as error:
            raise FastnasError(f"{path}, line {number}, is not a candidate: {error}") from error
    return records, end


def _lock(folder: Path) -> FileIO:
    """The history file, opened and locked."""
    # Not in append mode: truncating after a torn line must also move where writing goes on. A file object without a
    # buffer writes nothing of its own accord, in a forked worker or at exit.
    file = FileIO(os.open(folder / "history.jsonl", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
    try:
        # Unlike lockf's, this lock survives the same process opening and closing the file to read it.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise FastnasError(f"{folder} is in use by a live search; wait for it, or stop it first") from error
    return file


@contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FastnasError(f"cannot use the run folder {folder}: {error.strerror or error}") from error
