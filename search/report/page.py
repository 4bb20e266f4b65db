"""The report of one or more searches: one HTML page that needs nothing but itself, its figures as PNG, and JSON.

It reads run folders only, so that it can be made at any time, while a search is running too.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from fastnas import __version__
from fastnas.errors import FastnasError
from fastnas.jetson.files import atomic_path
from fastnas.models.checkpoint import read_header
from fastnas.models.genotype import Genotype
from fastnas.models.spec import ModelSpec
from fastnas.search.costs import accuracy, pareto_front
from fastnas.search.history import Record, rank
from fastnas.search.report import plots, statistics
from fastnas.search.report.statistics import STAGES, SearchRun
from fastnas.search.settings import SearchSettings
from fastnas.show import drawing
from fastnas.tasks.registry import head_for

LISTED, DRAWN = 10, 3
"""How many of the best networks are listed, and how many of those drawn."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page, its file name, and the sentence below it."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Finals:
    """Trained models: what their score is called, and genotype and score by name."""

    score: str
    models: dict[str, tuple[Genotype, float]]


def read_finals(paths: Iterable[Path]) -> Finals | None:
    """The final scores of model files, or of all of them below a folder.

    Raises:
        FastnasError: a file is no model of the search space, has no score, or has another one than the rest.
    """
    models: dict[str, tuple[Genotype, float]] = {}
    scores = set()
    files = [found for path in paths for found in (sorted(path.rglob("*.safetensors")) if path.is_dir() else [path])]
    for path in files:
        header = read_header(path)
        spec = ModelSpec.from_dict(header["model"])
        if spec.genotype is None:
            raise FastnasError(f"{path} is a {spec.architecture}, which no search can find; leave it out")
        if not header.get("metrics"):
            raise FastnasError(f"{path} has no score: it was not evaluated; train it with fastnas train")
        score = head_for(spec.task).score(header["metrics"])
        scores.add(score.name)
        name = path.parent.name if path.stem == "model" else path.stem
        models[name if name not in models else str(path)] = spec.genotype, score.value
    if len(scores) > 1:
        raise FastnasError(
            f"the trained models have different scores ({', '.join(sorted(scores))}): compare like with like"
        )
    return Finals(scores.pop(), models) if models else None


def summarise(runs: Sequence[SearchRun], finals: Finals | None, block: int) -> dict[str, Any]:
    """Everything that the report says in numbers, as plain values for JSON."""
    points = statistics.final_scores(runs, finals.models) if finals else []
    every, best = _networks(runs), statistics.best(runs)
    names = {id(record): name for name, record in every}
    return {
        "runs": [_run_summary(run) for run in runs],
        "blocks": {
            label: {stage: statistics.blocks(group, stage, block) for stage in STAGES}
            for label, group in statistics.contenders(runs).items()
        },
        "block": block,
        "comparisons": [dataclasses.asdict(each) for each in statistics.comparisons(runs)],
        "ablation": {
            stage: {arm: _spread(rewards) for arm, rewards in statistics.ablation(runs, stage).items()}
            for stage in STAGES
        },
        "best": [_network_summary(name, record) for name, record in every[:LISTED]],
        "pareto": {
            cost: [_network_summary(names[id(record)], record) for record in pareto_front(priced, cost)]
            for cost in plots.COSTS
            if (priced := _priced(every, cost))
        },
        "operations": {
            "all": statistics.operation_shares(record for _, record in every),
            "best": statistics.operation_shares(best),
        },
        "connections": {
            "all": _lists(statistics.connection_shares(record for _, record in every)),
            "best": _lists(statistics.connection_shares(best)),
        },
        "final": {
            "score": finals.score,
            "points": [dataclasses.asdict(point) for point in points],
            "left_out": sorted(set(finals.models) - {point.name for point in points}),
            "spearman": statistics.spearman(points),
        }
        if finals
        else None,
    }


def default_block(runs: Sequence[SearchRun]) -> int:
    """A fifth of the longest run, rounded up to tens: the size of the blocks of candidates (400 in the paper)."""
    longest = max(len(run.records) for run in runs)
    return max(10, math.ceil(longest / 50) * 10)


def draw(runs: Sequence[SearchRun], finals: Finals | None, block: int) -> dict[str, list[Picture]]:
    """The figures by section of the page; what there is no data for is left out."""
    every, best = _networks(runs), statistics.best(runs)
    if not every:
        return {}
    found: dict[str, list[Picture]] = {
        "course": [Picture("course", plots.draw_course(runs), "Reward over time; pauses are left out.")]
    }
    groups = statistics.contenders(runs)
    found["blocks"] = [
        Picture(
            f"rewards-{stage}",
            plots.draw_blocks(groups, stage, block),
            f"Rewards after {plots.STAGE_NAMES[stage]}, by block of {block} candidates (as Fig. 2 of the paper).",
        )
        for stage in STAGES
        if any(run.rewards(stage) for run in runs)
    ]
    found["best"] = [
        Picture(f"best{i}", drawing.draw(record.genotype, f"No. {i}: reward {record.reward:.4f}"), str(record.genotype))
        for i, (_, record) in enumerate(every[:DRAWN], start=1)
    ]
    found["pareto"] = [
        Picture(f"pareto-{cost}", plots.draw_pareto(priced, cost), f"Reward against {name}.")
        for cost, (name, _) in plots.COSTS.items()
        if (priced := _priced(every, cost))
    ]
    records = [record for _, record in every]
    found["parts"] = [
        Picture("operations", plots.draw_operations(records, best), "Operations of the cell."),
        Picture(
            "connections",
            plots.draw_connections(records, best),
            "What the three sums draw: shares among the best tenth; the colour is the difference to all candidates.",
        ),
    ]
    arms = {stage: statistics.ablation(runs, stage) for stage in STAGES}
    if len(arms["stage1"]) > 1:
        drawn = {stage: rewards for stage, rewards in arms.items() if rewards}
        text = "Random architectures, each trained with these aids (as Fig. 3 of the paper)."
        found["ablation"] = [Picture("ablation", plots.draw_ablation(drawn), text)]
    if finals and (points := statistics.final_scores(runs, finals.models)):
        text = "Does a quick reward tell the final score? (as Fig. 5 of the paper)"
        found["final"] = [Picture("final", plots.draw_final(points, finals.score), text)]
    return found


def write_report(
    folders: Sequence[Path], out: Path | None = None, final: Sequence[Path] = (), block: int | None = None
) -> tuple[Path, dict[str, Any]]:
    """Write the page and, in a folder of its name, the figures as PNG.

    Args:
        folders: run folders.
        out: the page; by default `report.html` in the first run folder.
        final: model files, or folders of them, whose score is compared with their reward.
        block: candidates per block of the reward distributions.

    Returns:
        Where the page is, and its numbers (see `summarise`).

    Raises:
        FastnasError: a run or a model cannot be read, or the page cannot be written.
    """
    runs, finals = statistics.read_runs(folders), read_finals(final)
    out, block = out or folders[0] / "report.html", block or default_block(runs)
    summary = summarise(runs, finals, block)
    pictures = draw(runs, finals, block)
    for picture in (picture for section in pictures.values() for picture in section):
        drawing.save(picture.figure, out.with_suffix("") / f"{picture.name}.png")
    with atomic_path(out) as path:
        path.write_text(_page(runs, summary, pictures, _next_command(folders, runs)), encoding="utf-8")
    return out, summary


def _page(
    runs: Sequence[SearchRun], summary: Mapping[str, Any], pictures: Mapping[str, Sequence[Picture]], command: str
) -> str:
    text = resources.files("fastnas.search.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    values = [_flat(run.settings.to_dict()) for run in runs]
    return environment.from_string(text).render(
        summary,
        pictures={
            section: [{"source": _embedded(p.figure), "name": p.name, "caption": p.caption} for p in drawn]
            for section, drawn in pictures.items()
        },
        stage_names=plots.STAGE_NAMES,
        costs=plots.COSTS,
        command=command,
        settings={name: [each[name] for each in values] for name in values[0]},
        version=__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


def _embedded(figure: Figure) -> str:
    """A figure as the source of an HTML image."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "fastnas"}):
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _run_summary(run: SearchRun) -> dict[str, Any]:
    records = run.records
    ranked, settings = statistics.distinct(records), run.settings
    course = statistics.timeline(records)
    return {
        "name": run.name,
        "strategy": run.strategy,
        "arm": run.arm,
        "data": settings.data,
        "seed": settings.seed,
        "candidates": len(records),
        "budget": {"candidates": settings.candidates, "hours": settings.hours},
        **{status: run.count(status) for status in ("done", "stopped", "reused", "refused", "failed")},
        "best": ranked[0].reward if ranked else None,
        "mean": course[-1].mean if course else None,
        "hours": course[-1].hours if course else 0.0,
        "per_hour": statistics.candidates_per_hour(records),
        "seconds": statistics.time_spent(records),
        "staleness": {
            "mean": float(np.mean([record.staleness for record in records])) if records else 0.0,
            "max": max((record.staleness for record in records), default=0),
        },
        "reasons": dict(
            Counter(f"{record.status}: {record.reason}" for record in records if record.reason is not None).most_common(
                10
            )
        ),
    }


def _network_summary(run: str, record: Record) -> dict[str, Any]:
    return {
        "run": run,
        "number": record.proposal.number,
        "reward": record.reward,
        "stage1": record.stage1,
        "stage2": record.stage2,
        "genotype": str(record.genotype),
        "scores": record.scores,
    }


def _networks(runs: Sequence[SearchRun]) -> list[tuple[str, Record]]:
    """The networks of all runs with the name of their run, the best first; of equal ones the first run's."""
    found: dict[Genotype, tuple[str, Record]] = {}
    for run in runs:
        for record in statistics.distinct(run.records):
            found.setdefault(record.genotype.canonical(), (run.name, record))
    return sorted(found.values(), key=lambda entry: rank(entry[1]))


def _priced(every: Sequence[tuple[str, Record]], cost: str) -> list[Record]:
    return [record for _, record in every if cost in record.scores and accuracy(record) is not None]


def _next_command(folders: Sequence[Path], runs: Sequence[SearchRun]) -> str:
    """How to train the best network of all."""
    leaders = {i: ranked[0] for i, run in enumerate(runs) if (ranked := statistics.distinct(run.records))}
    leader = min(leaders, key=lambda i: rank(leaders[i]), default=0)
    return training_command(folders[leader], runs[leader].settings)


def training_command(folder: Path, settings: SearchSettings) -> str:
    """How to train the best network of a run fully: on the data and with the encoder that it was searched for."""
    words = ["fastnas", "train", f"best@{folder}", "--data", settings.data]
    words += ["--root", settings.root] if settings.root else []
    words += ["--task", settings.task] if settings.task else []
    words += ["--encoder", settings.evaluation.encoder] if settings.evaluation.encoder != ModelSpec.encoder else []
    weights = settings.evaluation.encoder_weights  # `scenes` is a stopgap of the search
    words += ["--encoder-weights", weights] if weights not in ("imagenet", "scenes") else []
    return shlex.join(words)


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {
        "count": len(values),
        "mean": float(np.mean(values)),
        "quarter": low,
        "median": median,
        "three_quarters": high,
    }


def _lists(shares: Any) -> list[list[float | None]]:
    """An array as lists; NaN, which JSON does not have, as None."""
    return [[None if math.isnan(value) else value for value in row] for row in shares.tolist()]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _number(value: float | None, digits: int = 4) -> str:
    """A number for people: small probabilities keep their magnitude."""
    if value is None:
        return "–"
    if 0 < abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"
