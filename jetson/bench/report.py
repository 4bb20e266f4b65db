"""What a benchmark leaves: a table, JSON with every sample, CSV, a plot, and a comparison with an earlier one."""

import csv
import io
import json
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from fastnas.jetson.bench.measure import STAGES
from fastnas.jetson.bench.plot import line_plot
from fastnas.jetson.checks import Fields
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.files import write_text

FORMAT = 1

PUBLISHED = {
    "deeplabv3-aspp-mbv2": ((69.67, 0.53), (8.09, 0.53)),
    "deeplabv3-mbv2": ((122.07, 0.58), (11.35, 0.43)),
    "rflw-mbv2": ((144.85, 0.49), (12.00, 0.26)),
    "arch0": ((109.36, 0.39), (14.86, 0.31)),
    "arch1": ((67.57, 0.54), (11.04, 0.23)),
    "arch2": ((64.60, 0.33), (8.86, 0.26)),
}
"""Table 1 of arXiv 1810.10804: ms at 512x512, mean and std of 100 passes, on TX2 and 1080Ti. Not measured by us."""

REGRESSION = 0.05
"""How much slower than before, by the median, counts as a regression."""


def make_report(
    machine: Dict[str, Any], title: str, settings: Dict[str, Any], rows: List[Dict[str, Any]]
) -> Dict[str, Any]:
    """The report as JSON values."""
    return {"format": FORMAT, "title": title, "machine": machine, "settings": settings, "rows": rows}


def read_report(path: str) -> Dict[str, Any]:
    """A report that `save` wrote.

    Raises:
        JetsonError: it is no report, or a newer one.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return check_report(json.load(file), path)
    except (OSError, ValueError) as error:
        raise JetsonError("cannot read the report {}: {}".format(path, error)) from error


def check_report(values: Any, where: str) -> Dict[str, Any]:
    """`values` if they are a report of this format; `where` names them in error messages."""
    fields = Fields(values, where)
    if fields.take("format", int) != FORMAT:
        raise fields.error("format", "is {}, but this fastnas reads {}".format(fields.values["format"], FORMAT))
    fields.take("machine", dict)
    for index, row in enumerate(fields.take("rows", list)):
        part = Fields(row, "{}: rows[{}]".format(where, index))
        part.take("name", str), part.take("precision", str), part.take_list("size", int, count=2)
        Fields(part.take("ms", dict).get("compute"), part.where + ".ms.compute").take("median", float)
    return fields.values


def save(report: Dict[str, Any], path: str) -> List[str]:
    """Write the JSON to `path`, and beside it CSV and, for more than one size, a plot; return the paths."""
    stem = path[: -len(".json")] if path.endswith(".json") else path
    written = {path: json.dumps(report) + "\n", stem + ".csv": to_csv(report)}
    if len({tuple(row["size"]) for row in report["rows"]}) > 1:
        written[stem + ".svg"] = to_plot(report)
    for name, text in written.items():
        write_text(name, text)
    return list(written)


def to_table(report: Dict[str, Any]) -> str:
    """The report for people, in Table 1's shape: mean ± std of the forward pass, then what surrounds it."""
    lines = [report["title"], ""]
    heads = (
        "network",
        "size",
        "engine",
        "ms (mean ± std)",
        "median",
        "p90",
        "p95",
        "p99",
        "FPS",
        "end to end",
        "FPS",
        "",
    )
    cells = [heads]  # type: List[Tuple[str, ...]]
    for row in report["rows"]:
        ms, whole = row["ms"]["compute"], row["ms"]["end_to_end"]
        name = row["name"] if row["precision"] == "fp32" else "{} {}".format(row["name"], row["precision"])
        cells.append(
            (
                name + ("" if row["trained"] else " (untrained)"),
                "{}x{}".format(*row["size"]),
                row["engine"]["engine"],
                "{:.2f} ± {:.2f}".format(ms["mean"], ms["std"]),
                "{:.2f}".format(ms["median"]),
                "{:.2f}".format(ms["p90"]),
                "{:.2f}".format(ms["p95"]),
                "{:.2f}".format(ms["p99"]) + ("?" if ms["count"] < 1000 else ""),
                "{:.1f}".format(row["fps"]["inference"]),
                "{:.2f} ± {:.2f}".format(whole["mean"], whole["std"]),
                "{:.1f}".format(row["fps"]["end_to_end"]),
                row["verdict"],
            )
        )
    lines += _align(cells) + ["", "? fewer than 1000 samples barely support a 99th percentile", ""]
    lines += _align([("stage, mean ms",) + STAGES, *map(_stage_cells, report["rows"])]) + [""]
    for reason, names in _doubts(report).items():
        lines.append("suspect, {}: {}".format("all" if len(names) == len(report["rows"]) else ", ".join(names), reason))
    lines += [_sensor_line(row) for row in report["rows"]]
    absent = report["machine"].get("absent_sensors")
    if absent:
        lines.append("sensors absent on this machine: " + ", ".join(absent))
    growths = growth(report)
    if growths:
        lines += ["", "growth: compute = a · pixels^b, fitted to the medians"]
        lines += ["{}: b = {:.2f}".format(name, exponent) for name, exponent in growths.items()]
    return "\n".join(lines + _published_lines(report)) + "\n"


def _doubts(report: Dict[str, Any]) -> Dict[str, List[str]]:
    """The rows that each reason for doubt applies to."""
    found = {}  # type: Dict[str, List[str]]
    for row in report["rows"]:
        for reason in row["reasons"]:
            found.setdefault(reason, []).append("{} {}x{}".format(_label(row), *row["size"]))
    return found


def _stage_cells(row: Dict[str, Any]) -> Tuple[str, ...]:
    means = ("{:.2f}".format(row["ms"][stage]["mean"]) if stage in row["ms"] else "-" for stage in STAGES)
    return ("{} {} {}x{}".format(row["name"], row["precision"], *row["size"]),) + tuple(means)


def _sensor_line(row: Dict[str, Any]) -> str:
    """What the sensors said during one row; nothing of those that are absent."""
    sensors = row["sensors"]
    parts = [
        text.format(**sensors)
        for key, text in (
            ("power_w", "{power_w:.1f} W, at most {power_w_max:.1f}"),
            ("energy_mj", "{energy_mj:.0f} mJ a frame"),
            ("energy_above_idle_mj", "{energy_above_idle_mj:.0f} mJ above idle"),
            ("temperature_c", "{temperature_c:.0f} °C ({hottest}), at most {temperature_c_max:.0f}"),
            ("gpu_mhz", "GPU {gpu_mhz:.0f} MHz, at least {gpu_mhz_min:.0f}"),
            ("cpu_mhz", "CPU {cpu_mhz:.0f} MHz, at least {cpu_mhz_min:.0f}"),
            ("memory_mb", "{memory_mb_max:.0f} MB in use on the machine"),
        )
        if sensors.get(key) is not None
    ]
    return "{} {}x{}: {}".format(_label(row), row["size"][0], row["size"][1], ", ".join(parts))


def _published_lines(report: Dict[str, Any]) -> List[str]:
    """Table 1's figures for the networks that are in the report."""
    names = [name for name in PUBLISHED if any(row["name"] == name for row in report["rows"])]
    if not names:
        return []
    cells = [("published (512x512)", "TX2 ms", "1080Ti ms")]  # type: List[Tuple[str, ...]]
    for name in names:
        cells.append((name,) + tuple("{:.2f} ± {:.2f}".format(*figures) for figures in PUBLISHED[name]))
    note = "published: Table 1 of arXiv 1810.10804, measured by its authors on their devices, not here"
    return ["", note] + _align(cells)


def _align(cells: List[Tuple[str, ...]]) -> List[str]:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        first, rest = row[0].ljust(widths[0]), [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join([first] + rest).rstrip())
    return lines


def to_csv(report: Dict[str, Any]) -> str:
    """One line for each row and stage."""
    text = io.StringIO()
    names = ("count", "min", "mean", "median", "p90", "p95", "p99", "max", "std", "cov")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "precision", "height", "width", "engine", "verdict", "stage") + names)
    for row in report["rows"]:
        head = [row["name"], row["precision"]] + row["size"] + [row["engine"]["engine"], row["verdict"]]
        for stage, statistics in row["ms"].items():
            writer.writerow(head + [stage] + [repr(statistics[name]) for name in names])
    return text.getvalue()


def to_plot(report: Dict[str, Any]) -> str:
    """Latency against resolution with error bars (the paper's Fig. 15), SVG."""
    lines = {}  # type: Dict[str, List[Tuple[float, float, float]]]
    for row in report["rows"]:
        ms = row["ms"]["compute"]
        point = (float((row["size"][0] * row["size"][1]) ** 0.5), ms["mean"], ms["std"])
        lines.setdefault(_label(row), []).append(point)
    return line_plot(lines, report["title"], "resolution, pixels a side", "ms, mean ± std")


def growth(report: Dict[str, Any]) -> Dict[str, float]:
    """The exponent b of `compute = a * pixels^b` by network, where three or more sizes were measured."""
    import numpy as np

    points = {}  # type: Dict[str, List[Tuple[float, float]]]
    for row in report["rows"]:
        points.setdefault(_label(row), []).append((row["size"][0] * row["size"][1], row["ms"]["compute"]["median"]))
    return {
        name: float(np.polyfit(np.log([x for x, _ in found]), np.log([y for _, y in found]), 1)[0])
        for name, found in points.items()
        if len({pixels for pixels, _ in found}) >= 3
    }


def _label(row: Dict[str, Any]) -> str:
    return row["name"] if row["precision"] == "fp32" else "{} {}".format(row["name"], row["precision"])


class Change(NamedTuple):
    """How one row changed: `ratio` is new median over old; None where the old report has no such row."""

    name: str
    ratio: Optional[float]
    regressed: bool


def compare(new: Dict[str, Any], old: Dict[str, Any]) -> List[Change]:
    """Compare by name, precision, size and engine.

    Raises:
        JetsonError: the reports come from different machines, or share no row.
    """
    here, there = (_device(report["machine"]) for report in (new, old))
    if here != there:
        raise JetsonError(
            "the earlier report is of another machine ({}, here {}): nothing to compare".format(there, here)
        )
    before = {_key(row): row["ms"]["compute"]["median"] for row in old["rows"]}
    changes = []
    for row in new["rows"]:
        name = "{} {}x{}".format(_label(row), *row["size"])
        median = before.get(_key(row))
        ratio = None if median is None else row["ms"]["compute"]["median"] / median
        changes.append(Change(name, ratio, ratio is not None and ratio > 1 + REGRESSION))
    if all(change.ratio is None for change in changes):
        raise JetsonError("the earlier report has none of these networks at these sizes and engines")
    return changes


def _key(row: Dict[str, Any]) -> Tuple[Any, ...]:
    return row["name"], row["precision"], tuple(row["size"]), row["engine"]["engine"], row["engine"].get("provider")


def _device(machine: Dict[str, Any]) -> str:
    parts = (machine.get("module"), machine.get("gpu"), machine.get("cpu"), machine.get("cores"))
    return ", ".join(str(part) for part in parts if part)
