"""The report of one or more searches: one self-contained HTML page, its plots as PNG, and JSON.

It is made from run folders only, at any time, also while a search is running.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from fastnas import __version__
from fastnas.jetson.files import atomic_path
from fastnas.models.genotype import Genotype
from fastnas.models.spec import ModelSpec
from fastnas.search.costs import UNITS
from fastnas.search.report import plots
from fastnas.search.report.finals import read_finals
from fastnas.search.report.heads import compare_heads
from fastnas.search.report.layers import dearest_modules
from fastnas.search.report.statistics import STAGES, SearchRun, read_runs
from fastnas.search.report.summary import summarise
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
    folders: Sequence[Path],
    out: Path | None = None,
    final: Sequence[Path] = (),
    block: int | None = None,
    layers: Sequence[Path] = (),
) -> tuple[Path, dict[str, Any]]:
    """Write the page and, in a folder of its name, the plots as PNG.

    Args:
        folders: run folders.
        out: the page; by default `report.html` in the first run folder.
        final: model files, or folders of them, whose score is compared with their reward, and by their auxiliary heads.
        block: candidates per block of the reward distributions.
        layers: reports of `fastnas jetson-bench --layers`.

    Returns:
        Where the page is, and its statistics (see `summarise`).

    Raises:
        FastnasError: a run, a model or a report cannot be read, or the page cannot be written.
    """
    runs, out = read_runs(folders), out or folders[0] / "report.html"
    summary = summarise(runs, read_finals(final), block, dearest_modules(layers), compare_heads(final))
    sections = make_plots(runs, summary) if summary["best"] else {}
    for plot in (plot for section in sections.values() for plot in section):
        drawing.save(plot.figure, out.with_suffix("") / f"{plot.name}.png")
    with atomic_path(out) as path:
        path.write_text(_page(runs, summary, sections), encoding="utf-8")
    return out, summary


def make_plots(runs: Sequence[SearchRun], summary: Mapping[str, Any]) -> dict[str, list[Plot]]:
    """The plots by section of the page, but those without data."""
    block, final, heads = summary["block"], summary["final"], summary["heads"]
    sections = {
        "course": [Plot("course", plots.draw_course(runs), "Reward over time, without interruptions.")],
        "blocks": [
            Plot(
                f"rewards-{stage}",
                plots.draw_blocks({name: found[stage] for name, found in summary["blocks"].items()}, stage, block),
                f"Rewards after {plots.STAGE_NAMES[stage]}, by block of {block} candidates (as Fig. 2 of the paper).",
            )
            for stage in STAGES
            if any(run.rewards(stage) for run in runs)
        ],
        "best": [
            Plot(
                f"best{i}",
                drawing.draw(Genotype.parse(each["genotype"]), f"No. {i}: reward {each['reward']:.4f}"),
                each["genotype"],
            )
            for i, each in enumerate(summary["best"][:DRAWN], start=1)
        ],
        "pareto": [
            Plot(
                f"pareto-{cost}",
                plots.draw_pareto(points, [each["scores"][cost] for each in summary["pareto"][cost]], *UNITS[cost]),
                f"Reward against {UNITS[cost][0]}.",
            )
            for cost, points in summary["costs"].items()
        ],
        "parts": [
            Plot("operations", plots.draw_operations(*summary["operations"].values()), "Operations of the cell."),
            Plot(
                "connections",
                plots.draw_connections(*summary["connections"].values()),
                "Inputs of the three sums: shares among the best tenth; the colour is the difference to all networks.",
            ),
        ],
    }
    if summary["efficiency"]:
        caption = "Best reward so far, with the weight of the cost: mean, and range over the runs."
        sections["efficiency"] = [Plot("efficiency", plots.draw_efficiency(summary["efficiency"]), caption)]
    if len(summary["ablation"]["stage1"]) > 1:
        caption = "Random architectures, each trained with these aids (as Fig. 3 of the paper)."
        sections["ablation"] = [Plot("ablation", plots.draw_ablation(summary["ablation"]), caption)]
    if networks := {name: check for name, check in summary["rank_checks"].items() if check["networks"]}:
        caption = "Reward in the search against the final score: mean, and range over the seeds."
        sections["rank_checks"] = [
            Plot(f"rank-check{i or ''}", plots.draw_rank_check(check["networks"], check["score"]), f"{name}: {caption}")
            for i, (name, check) in enumerate(networks.items())
        ]
    if summary["stages"]:
        caption = "Reward after stage 1 against that after stage 2 (as Fig. 5a of the paper)."
        sections["stages"] = [Plot("stages", plots.draw_stages(summary["stages"]), caption)]
    if heads:
        caption = "Score after full training by kind of auxiliary heads (as Fig. 4 of the paper)."
        sections["heads"] = [Plot("heads", plots.draw_heads(heads["networks"], heads["score"]), caption)]
    if final and final["points"]:
        caption = "Reward in the search against the score after full training (as Fig. 5b of the paper)."
        sections["final"] = [Plot("final", plots.draw_final(final["points"], final["score"]), caption)]
    return sections


def _page(runs: Sequence[SearchRun], summary: Mapping[str, Any], sections: Mapping[str, Sequence[Plot]]) -> str:
    text = resources.files("fastnas.search.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    settings = [_flat(run.settings.to_dict()) for run in runs]
    best_run = next((run for run in runs if summary["best"] and run.name == summary["best"][0]["run"]), runs[0])
    return environment.from_string(text).render(
        summary,
        plots={
            section: [{"source": drawing.svg_url(p.figure), "name": p.name, "caption": p.caption} for p in made]
            for section, made in sections.items()
        },
        stage_names=plots.STAGE_NAMES,
        units=UNITS,
        command=training_command(best_run.folder, best_run.settings),
        settings={name: [each[name] for each in settings] for name in settings[0]},
        version=__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


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
