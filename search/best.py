"""The best candidate of a search, of all or of those within a limit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from fastnas.errors import FastnasError
from fastnas.search.costs import UNITS
from fastnas.search.history import EVALUATED, Record, read_records

COSTS = {"ms": "latency", "M": "parameters", "G": "madds"}
"""The cost that a limit is for, by the unit it is written in."""


def rank(record: Record) -> tuple[bool, float, int]:
    """Key that sorts evaluated candidates, the best first.

    Those that went through all stages come before those that were stopped, then the higher reward, then the lower
    number.
    """
    assert record.reward is not None
    return record.status != "done", -record.reward, record.candidate.number


def best_record(records: Iterable[Record]) -> Record | None:
    """The best candidate of a search: the first by `rank`; None if none was evaluated."""
    return min((record for record in records if record.status in EVALUATED), key=rank, default=None)


def read_best(run: str | os.PathLike[str]) -> Record:
    """The best candidate so far of a run, live or not.

    Args:
        run: its folder, or `FOLDER:LIMIT` for the best of those within a limit: 12ms of latency, 2.5M parameters, or 3G
            multiply-adds.

    Raises:
        FastnasError: the history cannot be read, or it has no such candidate.
    """
    run = os.fspath(run)
    limited = re.fullmatch(r"(.+):(\d+(?:\.\d+)?)(ms|M|G)", run)
    if limited is None or Path(run).exists():
        record = best_record(read_records(run))
        if record is None:
            raise FastnasError(f"the search in {run} has evaluated no candidate yet")
        return record
    folder, limit, unit = limited[1], float(limited[2]), limited[3]
    name = COSTS[unit]
    label, size = UNITS[name]
    records = [record for record in read_records(folder) if record.status in EVALUATED and name in record.scores]
    if not records:
        raise FastnasError(f"the search in {folder} has evaluated no candidate whose {label} is known")
    record = best_record(record for record in records if record.scores[name] <= limit * size)
    if record is None:
        lowest = min(record.scores[name] for record in records) / size
        raise FastnasError(f"no candidate of {folder} is within {limit:g} {unit}; the lowest has {lowest:.2f}")
    return record
