"""`best@RUN`: the best architecture of a search, by its run folder."""

from __future__ import annotations

import json
from pathlib import Path

from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype

PREFIX = "best@"


def best_of(name: str) -> Genotype:
    """The genotype behind `best@RUN`: the highest reward among the candidates that went through all stages.

    Where none did, the highest of those that the stop rule ended. Works while the search runs.

    Raises:
        FastnasError: RUN is no run folder, or has no candidate yet.
    """
    path = Path(name.removeprefix(PREFIX)) / "history.jsonl"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FastnasError(f"{name}: cannot read {path}: {error.strerror}") from error
    try:
        records = [json.loads(line) for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
        for status in ("done", "stopped"):
            if chosen := [record for record in records if record["status"] == status]:
                return Genotype.parse(max(chosen, key=lambda record: record["reward"])["genotype"])
    except (ValueError, KeyError, TypeError) as error:
        raise FastnasError(f"{name}: {path} is not the history of a search: {error}") from error
    raise FastnasError(f"{name}: the search has judged no candidate yet")
