"""Everything that a report shows, computed once, and as plain values for JSON."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastnas.models.genotype import Genotype
from fastnas.search.costs import UNITS, Point, cost_points, pareto_front
from fastnas.search.history import Record, rank
from fastnas.search.report import statistics
from fastnas.search.report.finals import Finals, FinalScore, final_scores, spearman
from fastnas.search.report.statistics import STAGES, SearchRun, Stage

LISTED = 10
"""Number of the best networks that are listed."""


@dataclass(frozen=True)
class Analysis:
    """The statistics of some runs together.

    Attributes:
        runs: at least one.
        finals: trained models to compare with.
        block: candidates per block of the reward distributions.
    """

    runs: Sequence[SearchRun]
    finals: Finals | None
    block: int

    @cached_property
    def networks(self) -> list[tuple[SearchRun, Record]]:
        """The networks of all runs, each once with its best result, and the run of that; the best first."""
        found: dict[Genotype, tuple[SearchRun, Record]] = {}
        every = [(run, record) for run in self.runs for record in run.networks]
        for run, record in sorted(every, key=lambda network: rank(network[1])):
            found.setdefault(record.candidate.canonical, (run, record))
        return list(found.values())

    @cached_property
    def records(self) -> list[Record]:
        """The records of `networks`."""
        return [record for _, record in self.networks]

    @cached_property
    def groups(self) -> dict[str, list[SearchRun]]:
        """The series whose rewards are compared, by name."""
        return statistics.contenders(self.runs)

    @cached_property
    def blocks(self) -> dict[Stage, dict[str, list[list[float]]]]:
        """Rewards by stage, series and block of candidates."""
        return {
            stage: {name: statistics.blocks(runs, stage, self.block) for name, runs in self.groups.items()}
            for stage in STAGES
        }

    @cached_property
    def ablation(self) -> dict[Stage, dict[str, list[float]]]:
        """Rewards of random architectures by stage and training aids."""
        return {stage: statistics.ablation(self.runs, stage) for stage in STAGES}

    @cached_property
    def costs(self) -> dict[str, list[Point]]:
        """Rewards against each cost that is known."""
        return {cost: points for cost in UNITS if (points := cost_points(self.records, cost))}

    @cached_property
    def fronts(self) -> dict[str, list[Point]]:
        """The Pareto front of each cost."""
        return {cost: pareto_front(points) for cost, points in self.costs.items()}

    @cached_property
    def operations(self) -> dict[str, dict[str, float]]:
        """Shares of the operations among `all` networks and the `best`."""
        return {name: statistics.operation_shares(records) for name, records in self._populations.items()}

    @cached_property
    def connections(self) -> dict[str, Any]:
        """Shares of the connections [3, 6] among `all` networks and the `best`."""
        return {name: statistics.connection_shares(records) for name, records in self._populations.items()}

    @cached_property
    def _populations(self) -> dict[str, list[Record]]:
        return {"all": self.records, "best": statistics.best_share(self.runs)}

    @cached_property
    def final(self) -> list[FinalScore]:
        """The trained models that a search evaluated."""
        return final_scores(self.records, self.finals.models) if self.finals else []

    def to_dict(self) -> dict[str, Any]:
        """All statistics as plain values for JSON."""
        names = {id(record): run.name for run, record in self.networks}
        return {
            "runs": [_run_values(run) for run in self.runs],
            "blocks": {name: {stage: self.blocks[stage][name] for stage in STAGES} for name in self.groups},
            "block": self.block,
            "comparisons": [dataclasses.asdict(each) for each in statistics.comparisons(self.groups)],
            "ablation": {
                stage: {arm: _spread(rewards) for arm, rewards in arms.items()} for stage, arms in self.ablation.items()
            },
            "best": [_network_values(run.name, record) for run, record in self.networks[:LISTED]],
            "pareto": {
                cost: [_network_values(names[id(point.record)], point.record) for point in front]
                for cost, front in self.fronts.items()
            },
            "operations": self.operations,
            "connections": {
                # JSON has no NaN.
                name: [[None if math.isnan(value) else value for value in row] for row in shares.tolist()]
                for name, shares in self.connections.items()
            },
            "final": {
                "score": self.finals.score,
                "points": [dataclasses.asdict(point) for point in self.final],
                "left_out": sorted(set(self.finals.models) - {point.name for point in self.final}),
                "spearman": spearman(self.final),
            }
            if self.finals
            else None,
        }


def default_block(runs: Sequence[SearchRun]) -> int:
    """A fifth of the longest run, rounded up to tens: the size of the blocks of candidates (400 in the paper)."""
    longest = max(len(run.records) for run in runs)
    return max(10, math.ceil(longest / 50) * 10)


def _run_values(run: SearchRun) -> dict[str, Any]:
    records, settings, timeline = run.records, run.settings, run.timeline
    hours = timeline[-1].hours if timeline else 0.0
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
        "best": timeline[-1].best if timeline else None,
        "mean": timeline[-1].mean if timeline else None,
        "hours": hours,
        "per_hour": len(records) / hours if hours else None,
        "seconds": statistics.seconds_by_stage(records),
        "staleness": {"mean": float(np.mean(staleness)), "max": max(staleness)},
        "reasons": dict(reasons.most_common(10)),
    }


def _network_values(run: str, record: Record) -> dict[str, Any]:
    return {
        "run": run,
        "number": record.candidate.number,
        "reward": record.reward,
        "stage1": record.stage1,
        "stage2": record.stage2,
        "genotype": str(record.candidate.genotype),
        "scores": record.scores,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {
        "count": len(values),
        "mean": float(np.mean(values)),
        "quarter": low,
        "median": median,
        "three_quarters": high,
    }
