"""The report of one or more searches: one self-contained HTML page, its plots as PNG, and JSON.

It is made from run folders only, at any time, also while a search is running.
"""

from __future__ import annotations

import base64
import io
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib import rc_context
from matplotlib.figure import Figure

from fastnas import __version__
from fastnas.jetson.files import atomic_path
from fastnas.models.spec import ModelSpec
from fastnas.search.costs import UNITS
from fastnas.search.report import plots
from fastnas.search.report.analysis import Analysis, default_block
from fastnas.search.report.finals import read_finals
from fastnas.search.report.statistics import read_runs
from fastnas.search.settings import SearchSettings
from fastnas.show import drawing

DRAWN = 3
"""Number of the best networks that are drawn."""


@dataclass(frozen=True)
class Plot:
    """A plot of the page, its file name, and its caption."""

    name: str
    figure: Figure
    caption: str


def write_report(
    folders: Sequence[Path], out: Path | None = None, final: Sequence[Path] = (), block: int | None = None
) -> tuple[Path, dict[str, Any]]:
    """Write the page and, in a folder of its name, the plots as PNG.

    Args:
        folders: run folders.
        out: the page; by default `report.html` in the first run folder.
        final: model files, or folders of them, whose score is compared with their reward.
        block: candidates per block of the reward distributions.

    Returns:
        Where the page is, and its statistics (see `Analysis.to_dict`).

    Raises:
        FastnasError: a run or a model cannot be read, or the page cannot be written.
    """
    runs = read_runs(folders)
    out, analysis = out or folders[0] / "report.html", Analysis(runs, read_finals(final), block or default_block(runs))
    values, sections = analysis.to_dict(), make_plots(analysis)
    for plot in (plot for section in sections.values() for plot in section):
        drawing.save(plot.figure, out.with_suffix("") / f"{plot.name}.png")
    with atomic_path(out) as path:
        path.write_text(_page(analysis, values, sections), encoding="utf-8")
    return out, values


def make_plots(analysis: Analysis) -> dict[str, list[Plot]]:
    """The plots by section of the page, but those without data."""
    if not analysis.networks:
        return {}
    sections = {
        "course": [Plot("course", plots.draw_course(analysis.runs), "Reward over time, without interruptions.")],
        "blocks": [
            Plot(
                f"rewards-{stage}",
                plots.draw_blocks(groups, stage, analysis.block),
                f"Rewards after {plots.STAGE_NAMES[stage]}, by block of {analysis.block} candidates "
                "(as Fig. 2 of the paper).",
            )
            for stage, groups in analysis.blocks.items()
            if any(run.rewards(stage) for run in analysis.runs)
        ],
        "best": [
            Plot(
                f"best{i}",
                drawing.draw(record.candidate.genotype, f"No. {i}: reward {record.reward:.4f}"),
                str(record.candidate.genotype),
            )
            for i, record in enumerate(analysis.records[:DRAWN], start=1)
        ],
        "pareto": [
            Plot(
                f"pareto-{cost}",
                plots.draw_pareto(points, analysis.fronts[cost], UNITS[cost]),
                f"Reward against {UNITS[cost]}.",
            )
            for cost, points in analysis.costs.items()
        ],
        "parts": [
            Plot("operations", plots.draw_operations(*analysis.operations.values()), "Operations of the cell."),
            Plot(
                "connections",
                plots.draw_connections(*analysis.connections.values()),
                "Inputs of the three sums: shares among the best tenth; the colour is the difference to all networks.",
            ),
        ],
    }
    if len(analysis.ablation["stage1"]) > 1:
        arms = {stage: rewards for stage, rewards in analysis.ablation.items() if rewards}
        caption = "Random architectures, each trained with these aids (as Fig. 3 of the paper)."
        sections["ablation"] = [Plot("ablation", plots.draw_ablation(arms), caption)]
    if analysis.finals and analysis.final:
        caption = "Reward in the search against the score after full training (as Fig. 5 of the paper)."
        sections["final"] = [Plot("final", plots.draw_final(analysis.final, analysis.finals.score), caption)]
    return sections


def _page(analysis: Analysis, values: Mapping[str, Any], sections: Mapping[str, Sequence[Plot]]) -> str:
    text = resources.files("fastnas.search.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    settings = [_flat(run.settings.to_dict()) for run in analysis.runs]
    best_run = analysis.networks[0][0] if analysis.networks else analysis.runs[0]
    return environment.from_string(text).render(
        values,
        plots={
            section: [{"source": _embedded(p.figure), "name": p.name, "caption": p.caption} for p in made]
            for section, made in sections.items()
        },
        stage_names=plots.STAGE_NAMES,
        units=UNITS,
        command=training_command(best_run.folder, best_run.settings),
        settings={name: [each[name] for each in settings] for name in settings[0]},
        version=__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


def _embedded(figure: Figure) -> str:
    """A plot as the source of an HTML image."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "fastnas"}):
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def training_command(folder: Path, settings: SearchSettings) -> str:
    """The command that trains the best network of a run, on the data and with the encoder of the search."""
    words = ["fastnas", "train", f"best@{folder}", "--data", settings.data]
    words += ["--root", settings.root] if settings.root else []
    words += ["--task", settings.task] if settings.task else []
    words += ["--encoder", settings.evaluation.encoder] if settings.evaluation.encoder != ModelSpec.encoder else []
    weights = settings.evaluation.encoder_weights  # `scenes` is of no use in full training
    words += ["--encoder-weights", weights] if weights not in ("imagenet", "scenes") else []
    return shlex.join(words)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _number(value: float | None, digits: int = 4) -> str:
    """A number as printed; small probabilities keep their magnitude."""
    if value is None:
        return "–"
    if 0 < abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"
