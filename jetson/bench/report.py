"""The report of a benchmark: tables, JSON with every sample, CSV, a plot, and a comparison with an earlier report."""

import csv
import io
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from fastnas.jetson import checks
from fastnas.jetson.bench.layer_report import check_layers, layers_table, plot_layers
from fastnas.jetson.bench.measure import STAGES
from fastnas.jetson.bench.tables import align, label, network, plain
from fastnas.jetson.checks import Fields
from fastnas.jetson.engine.base import Log
from fastnas.jetson.errors import JetsonError, raise_if_interrupted
from fastnas.jetson.files import atomic_path, write_text
from fastnas.jetson.sidecar import PRECISIONS

FORMAT = 1
STATISTICS = ("count", "min", "mean", "median", "p90", "p95", "p99", "max", "std", "cov")

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
    where = "the report " + path
    return check_report(checks.read_json(path, checks.REPORT_BYTES, where, os.path.dirname(path) or "."), path)


def check_report(values: Any, where: str) -> Dict[str, Any]:
    """`values` if they are a report of this format; `where` names them in error messages.

    Raises:
        JetsonError: they are not; what tables, plots and comparisons read has its type and is within its limits.
    """
    fields = Fields(values, where)
    if fields.take("format", int) != FORMAT:
        raise fields.error("format", "is {}, but this fastnas reads {}".format(fields.values["format"], FORMAT))
    machine = Fields(fields.take("machine", dict), where + ": machine")
    for name in ("module", "gpu", "cpu"):
        machine.take(name, str, optional=True)
    machine.take("cores", int, optional=True)
    machine.take_list("absent_sensors", str, optional=True, each=checks.NAME)
    fields.take("title", str), fields.take("settings", dict)
    fields.take_list("rows", _check_row, within=checks.ROWS)
    return fields.values


def _check_row(values: Any, where: str) -> None:
    row = Fields(values, where)
    row.take_name("name"), row.take("precision", str, PRECISIONS), row.take("trained", bool)
    row.take_list("size", int, count=2, each=checks.SIDE)
    row.take("bound_by_launches", bool, optional=True)
    row.take_list("reasons", str, within=checks.REASONS)
    engine = Fields(row.take("engine", dict), where + ".engine")
    engine.take("engine", str, within=checks.NAME), engine.take("provider", str, optional=True, within=checks.NAME)
    stages = Fields(row.take("ms", dict, within=(1, len(STAGES))), where + ".ms")
    unknown = sorted(set(stages.values) - set(STAGES))
    if unknown:
        raise stages.error(checks.describe(unknown[0]), "is no stage; there are " + ", ".join(STAGES))
    for stage in STAGES:
        values = stages.take(stage, dict, optional=stage not in ("compute", "end_to_end"))
        if values is not None:
            _check_statistics(Fields(values, "{}.ms.{}".format(where, stage)), may_be_zero=stage.startswith("copy"))
    rates = Fields(row.take("fps", dict), where + ".fps")
    rates.take("inference", float), rates.take("end_to_end", float)
    sensors = Fields(row.take("sensors", dict), where + ".sensors")
    for name in sensors.values:
        sensors.take(name, str if name == "hottest" else float, optional=True)
    samples = Fields(row.take("samples", dict, within=(1, len(STAGES))), where + ".samples")
    for stage in samples.values:
        numbers = samples.take(stage, list, within=checks.SAMPLES)
        if not all(type(number) in (float, int) for number in numbers):
            raise samples.error(checks.describe(stage), "must be numbers")
    layers = row.take("layers", dict, optional=True)
    if layers is not None:
        check_layers(Fields(layers, where + ".layers"))
    row.take_list("readings", lambda values, where: Fields(values, where), within=checks.SAMPLES)


def _check_statistics(values: Fields, may_be_zero: bool) -> None:
    for name in STATISTICS:
        positive = name == "count" or (name in ("mean", "median") and not may_be_zero)
        values.take(name, float, within=checks.POSITIVE_STATISTIC if positive else checks.STATISTIC)


def save(report: Dict[str, Any], path: str, log: Log) -> List[str]:
    """Write the JSON to `path`, and beside it CSV and plots: of more than one size, and of times per layer.

    Plots need matplotlib, which a board seldom has: there JSON and CSV hold the same numbers, and a host draws them.

    Returns:
        The paths.
    """
    stem = path[: -len(".json")] if path.endswith(".json") else path
    written = [path, stem + ".csv"]
    write_text(path, json.dumps(report) + "\n")
    write_text(stem + ".csv", to_csv(report))
    plots = {
        stem + ".svg": (_plot, len({tuple(row["size"]) for row in report["rows"]}) > 1),
        stem + "-layers.svg": (plot_layers, any(row.get("layers") is not None for row in report["rows"])),
    }
    wanted = {target: draw for target, (draw, asked) in plots.items() if asked}
    if wanted:
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise_if_interrupted(error)
            log("no plot: matplotlib is not installed (measured from a host, with --host, there is one)")
            return written
        for target, draw in wanted.items():
            draw(report, Figure(figsize=(8, 5)), target)
            written.append(target)
    return written


def _plot(report: Dict[str, Any], figure: Any, path: str) -> None:
    """Latency against resolution with error bars (the paper's Fig. 15), SVG."""
    axes = figure.subplots()
    for name, rows in _by_network(report).items():
        ms = [row["ms"]["compute"] for row in rows]
        sides = [(row["size"][0] * row["size"][1]) ** 0.5 for row in rows]
        bars = axes.errorbar(
            sides, [each["mean"] for each in ms], [each["std"] for each in ms], marker="o", label=plain(name)
        )
        if all("enqueue" in row["ms"] for row in rows):
            host = [row["ms"]["enqueue"]["mean"] for row in rows]
            axes.plot(sides, host, "--", color=bars[0].get_color(), label=plain(name) + ", enqueue")
    axes.set(title=plain(report["title"]), xlabel="resolution, pixels a side", ylabel="ms, mean ± std")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(str(temporary), format="svg", bbox_inches="tight")


def to_table(report: Dict[str, Any]) -> str:
    """The report as text, in Table 1's shape: mean ± std of the forward pass, then what surrounds it."""
    rows = report["rows"]
    percentiles = ("median", "p90", "p95", "p99")
    heads = ("network", "size", "engine", "ms (mean ± std)") + percentiles + ("FPS", "end to end", "FPS", "")
    cells = [heads]  # type: List[Tuple[str, ...]]
    for row in rows:
        ms, total = row["ms"]["compute"], row["ms"]["end_to_end"]
        values = ["{:.2f}".format(ms[name]) for name in percentiles]
        values[-1] += "?" if ms["count"] < 1000 else ""
        name = network(row) + ("" if row["trained"] else " (untrained)")
        cells.append(
            (name, "{}x{}".format(*row["size"]), row["engine"]["engine"], _mean_std(ms["mean"], ms["std"]))
            + tuple(values)
            + ("{:.1f}".format(row["fps"]["inference"]), _mean_std(total["mean"], total["std"]))
            + ("{:.1f}".format(row["fps"]["end_to_end"]), "unreliable" if row["reasons"] else "")
        )
    stages = [("stage, mean ms",) + STAGES]  # type: List[Tuple[str, ...]]
    for row in rows:
        means = ("{:.2f}".format(row["ms"][stage]["mean"]) if stage in row["ms"] else "-" for stage in STAGES)
        stages.append((label(row),) + tuple(means))
    lines = [report["title"], ""] + align(cells) + ["", "? fewer than 1000 samples barely support a 99th percentile"]
    lines += (
        [""]
        + align(stages)
        + [""]
        + _flags(rows)
        + _launch_bound(rows)
        + [label(row) + ": " + _sensors(row) for row in rows]
    )
    absent = report["machine"].get("absent_sensors")
    lines += ["sensors absent on this machine: " + ", ".join(absent)] if absent else []
    lines += layers_table(rows)
    growths = growth(report)
    lines += ["", "growth: compute = a · pixels^b, fitted to the medians"] if growths else []
    lines += ["{}: b = {:.2f}".format(name, exponent) for name, exponent in growths.items()]
    return "\n".join(lines + _published(rows)) + "\n"


def _flags(rows: List[Dict[str, Any]]) -> List[str]:
    """A line for each reason why rows are unreliable."""
    found = {}  # type: Dict[str, List[str]]
    for row in rows:
        for reason in row["reasons"]:
            found.setdefault(reason, []).append(label(row))
    return [
        "unreliable, {}: {}".format("all" if len(labels) == len(rows) else ", ".join(labels), reason)
        for reason, labels in found.items()
    ]


def _launch_bound(rows: List[Dict[str, Any]]) -> List[str]:
    """A line for each row whose GPU waits for launches."""
    text = "{}: bound by launches: the host takes {:.2f} ms to enqueue what the GPU computes in {:.2f} ms"
    return [
        text.format(label(row), row["ms"]["enqueue"]["mean"], row["ms"]["compute"]["mean"])
        for row in rows
        if row.get("bound_by_launches")
    ]


def _sensors(row: Dict[str, Any]) -> str:
    """The sensors' readings during one row, without those that are absent."""
    texts = (
        (("power_w", "power_w_max"), "{:.1f} W, at most {:.1f}"),
        (("energy_mj",), "{:.0f} mJ a frame"),
        (("energy_above_idle_mj",), "{:.0f} mJ above idle"),
        (("temperature_c", "hottest", "temperature_c_max"), "{:.0f} °C ({}), at most {:.0f}"),
        (("gpu_mhz", "gpu_mhz_min"), "GPU {:.0f} MHz, at least {:.0f}"),
        (("cpu_mhz", "cpu_mhz_min"), "CPU {:.0f} MHz, at least {:.0f}"),
        (("memory_mb_max",), "{:.0f} MB in use on the machine"),
    )
    values = [([row["sensors"].get(name) for name in names], text) for names, text in texts]
    return ", ".join(text.format(*found) for found, text in values if None not in found)


def _published(rows: List[Dict[str, Any]]) -> List[str]:
    """Table 1's times of the networks that are in the report."""
    names = [name for name in PUBLISHED if any(row["name"] == name for row in rows)]
    cells = [("published (512x512)", "TX2 ms", "1080Ti ms")] + [
        (name,) + tuple(_mean_std(*times) for times in PUBLISHED[name]) for name in names
    ]
    note = "published: Table 1 of arXiv 1810.10804, measured by its authors on their devices, not here"
    return ["", note] + align(cells) if names else []


def _mean_std(mean: float, std: float) -> str:
    return "{:.2f} ± {:.2f}".format(mean, std)


def to_csv(report: Dict[str, Any]) -> str:
    """One line for each row and stage."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "precision", "height", "width", "engine", "reliable", "stage") + STATISTICS)
    for row in report["rows"]:
        reliable = "no" if row["reasons"] else "yes"
        head = [row["name"], row["precision"]] + row["size"] + [row["engine"]["engine"], reliable]
        for stage, statistics in row["ms"].items():
            writer.writerow(head + [stage] + [repr(statistics[name]) for name in STATISTICS])
    return text.getvalue()


def growth(report: Dict[str, Any]) -> Dict[str, float]:
    """The exponent b of `compute = a * pixels^b` by network, where three or more sizes were measured."""
    found = {}
    for name, rows in _by_network(report).items():
        pixels = [row["size"][0] * row["size"][1] for row in rows]
        if len(set(pixels)) >= 3:
            medians = [row["ms"]["compute"]["median"] for row in rows]
            found[name] = float(np.polyfit(np.log(pixels), np.log(medians), 1)[0])
    return found


def _by_network(report: Dict[str, Any]) -> Dict[str, List[Dict[str, Any]]]:
    """The rows of each network and precision, by size."""
    found = {}  # type: Dict[str, List[Dict[str, Any]]]
    for row in sorted(report["rows"], key=lambda row: row["size"][0] * row["size"][1]):
        found.setdefault(network(row), []).append(row)
    return found


class Change(NamedTuple):
    """How one row changed: `ratio` is new median over old; None where the old report has no such row."""

    name: str
    ratio: Optional[float]

    @property
    def regressed(self) -> bool:
        """Whether the row got slower by more than `REGRESSION`."""
        return self.ratio is not None and self.ratio > 1 + REGRESSION

    def line(self) -> str:
        """The change as a line of text."""
        if self.ratio is None:
            return "{}: not in the earlier report".format(self.name)
        status = "REGRESSED" if self.regressed else "ok"
        return "{}: {:.3f} of the earlier median, {}".format(self.name, self.ratio, status)


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
        median = before.get(_key(row))
        ratio = None if median is None else row["ms"]["compute"]["median"] / median
        changes.append(Change(label(row), ratio))
    if all(change.ratio is None for change in changes):
        raise JetsonError("the earlier report has none of these networks at these sizes and engines")
    return changes


def _key(row: Dict[str, Any]) -> Tuple[Any, ...]:
    return row["name"], row["precision"], tuple(row["size"]), row["engine"]["engine"], row["engine"].get("provider")


def _device(machine: Dict[str, Any]) -> str:
    parts = (machine.get("module"), machine.get("gpu"), machine.get("cpu"), machine.get("cores"))
    return ", ".join(str(part) for part in parts if part)
