"""What the parts of a network cost on a board: the times per layer of `fastnas jetson-bench --layers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastnas.errors import FastnasError
from fastnas.jetson.bench.report import read_report
from fastnas.jetson.bench.tables import label

DEAREST = 10


def dearest_modules(reports: Sequence[Path]) -> list[dict[str, Any]]:
    """The modules that took longest, of every network whose layers were timed.

    Args:
        reports: files of `fastnas jetson-bench --layers --report FILE`.

    Returns:
        For each network, `network` (name, precision, size), `machine`, `total_ms` of all its layers, and its `DEAREST`
        `modules`, the longest first: `name`, `part`, `ms` and `share` of the total.

    Raises:
        FastnasError: a file is no such report, or has no times per layer.
    """
    found: list[dict[str, Any]] = []
    for path in reports:
        report = read_report(str(path))
        rows = [row for row in report["rows"] if row.get("layers") is not None]
        if not rows:
            raise FastnasError(
                f"{path} has no times per layer: make it with fastnas jetson-bench --layers --report FILE"
            )
        found += [_of_network(row, report["machine"]) for row in rows]
    return found


def _of_network(row: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    total = row["layers"]["layers_ms"]
    longest = sorted(row["layers"]["modules"], key=lambda module: -module["ms"])[:DEAREST]
    return {
        "network": label(row),
        "machine": machine.get("module") or machine.get("gpu") or machine.get("cpu") or "an unknown machine",
        "total_ms": total,
        "modules": [
            {
                "name": each["name"],
                "part": each["part"],
                "ms": each["ms"],
                "share": each["ms"] / total if total else 0.0,
            }
            for each in longest
        ],
    }
