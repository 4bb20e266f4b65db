"""All statistics of a report as plain values, from which its plots, its page and its JSON are made."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastnas.models.genotype import Genotype
from fastnas.search import early_stopping
from fastnas.search.best import rank
from fastnas.search.costs import UNITS, cost_points, pareto_front
from fastnas.search.history import Record
from fastnas.search.report import comparison, statistics
from fastnas.search.report.efficiency import efficiencies
from fastnas.search.report.finals import Finals, final_scores, spearman
from fastnas.search.report.rank_check import read_check
from fastnas.search.report.statistics import STAGES, SearchRun, Stage

LISTED = 10
"""Number of the best networks that are listed."""


def summarise(
    runs: Sequence[SearchRun],
    finals: Finals | None = None,
    block: int | None = None,
    layers: Sequence[Mapping[str, Any]] = (),
    heads: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The statistics of some runs together, as plain values for JSON.

    Args:
        runs: at least one.
        finals: trained models to compare with.
        block: candidates per block of the reward distributions; by default a fifth of the longest run, rounded up to
            tens (400 in the paper).
        layers: of `dearest_modules`.
        heads: of `compare_heads`.
    """
    block = block or max(10, math.ceil(max(len(run.counted) for run in runs) / 50) * 10)
    networks = ranked(runs)
    records, groups = [record for _, record in networks], statistics.contenders(runs)
    points = {cost: found for cost in UNITS if (found := cost_points(records, cost))}
    names = {id(record): run.name for run, record in networks}
    populations = {"all": records, "best": statistics.best_share(runs)}
    return {
        "runs": [_run_values(run) for run in runs],
        "blocks": {
            name: {stage: statistics.blocks(group, stage, block) for stage in STAGES} for name, group in groups.items()
        },
        "block": block,
        "comparisons": [dataclasses.asdict(each) for each in comparison.comparisons(groups)],
        "unpaired": comparison.unpaired(groups),
        "efficiency": [dataclasses.asdict(each) for each in efficiencies(groups)],
        "ablation": {stage: _ablation_values(statistics.ablation(runs), stage) for stage in STAGES},
        "best": [_network_values(run.name, record) for run, record in networks[:LISTED]],
        "costs": {cost: [(point.cost, point.reward) for point in found] for cost, found in points.items()},
        "pareto": {
            cost: [_network_values(names[id(point.record)], point.record) for point in pareto_front(found)]
            for cost, found in points.items()
        },
        "operations": {name: statistics.operation_shares(those) for name, those in populations.items()},
        "connections": {name: statistics.connection_shares(those) for name, those in populations.items()},
        "stages": [values for run in runs if (values := _stage_values(run))],
        "final": finals and _final_values(finals, records),
        "rank_checks": {run.name: check.to_dict() for run in runs if (check := read_check(run.folder)) is not None},
        "heads": heads,
        "layers": list(layers),
    }


def ranked(runs: Sequence[SearchRun]) -> list[tuple[SearchRun, Record]]:
    """The networks of all runs, each once with its best result, and the run of that; the best first."""
    found: dict[Genotype, tuple[SearchRun, Record]] = {}
    every = [(run, record) for run in runs for record in run.networks]
    for run, record in sorted(every, key=lambda network: rank(network[1])):
        found.setdefault(record.candidate.canonical, (run, record))
    return list(found.values())


def _run_values(run: SearchRun) -> dict[str, Any]:
    records, settings = run.records, run.settings
    last = run.timeline[-1] if records else None
    staleness = [record.staleness for record in records] or [0]
    reasons = Counter(f"{record.status}: {record.reason}" for record in records if record.reason is not None)
    return {
        "name": run.name,
        "strategy": run.strategy,
        "arm": run.arm,
        "data": settings.data,
        "seed": settings.seed,
        "candidates": len(records),
        "budget": {"candidates": settings.candidates, "hours": settings.hours},
        **{status: run.count(status) for status in ("done", "stopped", "reused", "refused", "failed")},
        "best": last.best if last else None,
        "mean": last.mean if last else None,
        "hours": last.hours if last else 0.0,
        "per_hour": len(records) / last.hours if last and last.hours else None,
        "seconds": statistics.seconds_by_stage(records),
        "staleness": {"mean": float(np.mean(staleness)), "max": max(staleness)},
        "reasons": dict(reasons.most_common(10)),
        "rungs": _rung_values(run),
    }


def _rung_values(run: SearchRun) -> list[dict[str, Any]]:
    """How many candidates successive halving evaluated at each rung, and how many of them went on; empty without it."""
    how = run.settings.evaluation
    if run.settings.stop.rule != "halving":
        return []
    rungs = early_stopping.rungs(run.settings.stop, how.stage1_epochs)
    counts = [sum(epoch in record.rungs for record in run.records) for epoch in rungs[:-1]]
    counts += [len(run.rewards("stage1")), len(run.rewards("stage2"))]
    return [
        {"epoch": epoch, "reached": reached, "went_on": after}
        for epoch, (reached, after) in zip(rungs, pairwise(counts), strict=True)
    ]


def _network_values(run: str, record: Record) -> dict[str, Any]:
    candidate = record.candidate
    values = {name: getattr(record, name) for name in ("reward", "stage1", "stage2", "scores")}
    return {"run": run, "number": candidate.number, "genotype": str(candidate.genotype), **values}


def _ablation_values(arms: Mapping[str, Sequence[SearchRun]], stage: Stage) -> dict[str, Any]:
    """The spread of the rewards of each arm that has some, and how many runs it is of."""
    rewards = {arm: [reward for run in runs for reward in run.rewards(stage)] for arm, runs in arms.items()}
    return {arm: {"runs": len(arms[arm]), **_spread(values)} for arm, values in rewards.items() if values}


def _spread(rewards: list[float]) -> dict[str, Any]:
    low, median, high = np.quantile(rewards, (0.25, 0.5, 0.75)).tolist()
    spread = {"mean": float(np.mean(rewards)), "quarter": low, "median": median, "three_quarters": high}
    return {"count": len(rewards), **spread, "rewards": rewards}


def _stage_values(run: SearchRun) -> dict[str, Any] | None:
    """The rewards after both stages of the networks of a run that have both; None for fewer than two."""
    both = [(each.stage1, each.stage2) for each in run.networks if each.stage1 is not None and each.stage2 is not None]
    if len(both) < 2:
        return None
    return {"run": run.name, "points": both, "spearman": spearman(*map(list, zip(*both, strict=True)))}


def _final_values(finals: Finals, records: Sequence[Record]) -> dict[str, Any]:
    points = final_scores(records, finals.models)
    known = {record.candidate.canonical for record in records}
    return {
        "score": finals.score,
        "points": [dataclasses.asdict(point) for point in points],
        "left_out": sorted(name for name, (genotype, _) in finals.models.items() if genotype.canonical() not in known),
        "spearman": spearman([point.reward for point in points], [point.score for point in points]),
    }
