"""Times per layer in a report: checked, as a table, and as a plot."""

from typing import Any, Dict, List, Tuple

from fastnas.jetson import checks
from fastnas.jetson.bench.layers import LONGEST_NAME, PARTS
from fastnas.jetson.bench.tables import align, label, plain
from fastnas.jetson.checks import Fields
from fastnas.jetson.files import atomic_path

LONGEST = 15
"""Modules in the table; the report has all of them."""

TEXT = (1, LONGEST_NAME)


def check_layers(fields: Fields) -> None:
    """Refuse what `summarise_layers` does not write.

    Raises:
        JetsonError: a field is missing, or of another type.
    """
    fields.take("passes", int, within=checks.SAMPLES)
    fields.take("pass_ms", float, within=checks.STATISTIC), fields.take("layers_ms", float, within=checks.STATISTIC)
    fields.take_list("modules", _check_module, within=checks.ROWS)
    fields.take_list("layers", _check_layer, within=checks.ROWS)


def _check_module(values: Any, where: str) -> None:
    fields = Fields(values, where)
    fields.take("name", str, within=TEXT), fields.take("part", str, PARTS), fields.take("layers", int)
    fields.take("ms", float, within=checks.STATISTIC), fields.take("std", float, within=checks.STATISTIC)


def _check_layer(values: Any, where: str) -> None:
    fields = Fields(values, where)
    fields.take("name", str, within=TEXT), fields.take("module", str, within=TEXT)
    fields.take_list("others", str, each=TEXT), fields.take("ms", float, within=checks.STATISTIC)


def layers_table(rows: List[Dict[str, Any]]) -> List[str]:
    """Lines for each row with times per layer: its parts, its longest modules, and what spans several."""
    lines: List[str] = []
    for row in rows:
        if row.get("layers") is not None:
            lines += [""] + _row_table(label(row), row["layers"])
    return lines


def _row_table(title: str, layers: Dict[str, Any]) -> List[str]:
    total = layers["layers_ms"] or 1.0
    head = "{}, time per layer: {} passes with a profiler, {:.2f} ms each, {:.2f} ms of it in layers"
    lines = [head.format(title, layers["passes"], layers["pass_ms"], layers["layers_ms"])]
    cells: List[Tuple[str, ...]] = [("part", "ms", "share", "modules")]
    for part in PARTS:
        members = [each["ms"] for each in layers["modules"] if each["part"] == part]
        if members:
            cells.append(
                (part, "{:.2f}".format(sum(members)), "{:.1%}".format(sum(members) / total), str(len(members)))
            )
    lines += align(cells) + [""]
    ordered = sorted(layers["modules"], key=lambda each: -each["ms"])
    cells = [("module", "ms (mean ± std)", "share")]
    for each in ordered[:LONGEST]:
        cells.append(
            (each["name"], "{:.2f} ± {:.2f}".format(each["ms"], each["std"]), "{:.1%}".format(each["ms"] / total))
        )
    rest = sum(each["ms"] for each in ordered[LONGEST:])
    if ordered[LONGEST:]:
        others = "{} others, in the report".format(len(ordered) - LONGEST)
        cells.append((others, "{:.2f}".format(rest), "{:.1%}".format(rest / total)))
    spanning = [each for each in layers["layers"] if each["others"]]
    if spanning:
        text = "{} layers span several modules and count for the first: {:.2f} ms; the report lists them"
        cells_after = ["", text.format(len(spanning), sum(each["ms"] for each in spanning))]
    else:
        cells_after = []
    return lines + align(cells) + cells_after


def plot_layers(report: Dict[str, Any], figure: Any, path: str) -> None:
    """A bar for each module in the order of execution, with the parts in colours, SVG."""
    rows = [row for row in report["rows"] if row.get("layers") is not None]
    longest = max(len(row["layers"]["modules"]) for row in rows)
    figure.set_size_inches(8, 1.5 + 0.16 * longest * len(rows))
    for axes, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows):
        modules = row["layers"]["modules"]
        for number, part in enumerate(PARTS):
            places = [place for place, each in enumerate(modules) if each["part"] == part]
            if places:
                ms = [modules[place]["ms"] for place in places]
                axes.barh(places, ms, color="C{}".format(number % 10), hatch="//" * (number > 9), label=part)
        axes.set_yticks(range(len(modules)))
        axes.set_yticklabels([plain(each["name"]) for each in modules], fontsize=6)
        axes.set(title=plain(label(row)), xlabel="ms, mean of {} profiled passes".format(row["layers"]["passes"]))
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(str(temporary), format="svg", bbox_inches="tight")
