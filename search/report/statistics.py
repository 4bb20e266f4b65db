"""Statistics of searches: pure functions over their histories, which the report prints and plots."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from fastnas.errors import FastnasError
from fastnas.models.genotype import BLOCKS, ENCODER_OUTPUTS, Genotype
from fastnas.models.operations import OPERATIONS
from fastnas.search.best import best_record, rank
from fastnas.search.history import COUNTED, EVALUATED, Record, read_records
from fastnas.search.settings import SearchSettings

Stage = Literal["stage1", "stage2"]
STAGES: tuple[Stage, ...] = ("stage1", "stage2")
STRATEGIES = {
    "ppo": "PPO",
    "reinforce": "REINFORCE",
    "random": "random search",
    "evolution": "evolution",
    "predictor": "predictor",
}
BEST_SHARE = 0.1
"""Share of a run's networks that counts as its best in the statistics of operations and connections."""
PAUSE = 60.0
"""Seconds beyond an evaluation's own time after which a search counts as interrupted."""
WINDOW = 20
"""Number of latest rewards in a running mean."""


@dataclass(frozen=True)
class Moment:
    """A search after one more candidate.

    Attributes:
        hours: time that the search has worked so far, without interruptions.
        record: the candidate.
        leader: the best candidate so far; None before the first reward.
        mean: of the latest rewards; None before the first.
    """

    hours: float
    record: Record
    leader: Record | None
    mean: float | None

    @property
    def best(self) -> float | None:
        """Reward of the best candidate so far; None before the first."""
        return self.leader.reward if self.leader else None


@dataclass(frozen=True)
class SearchRun:
    """A run as it was when it was read."""

    name: str
    settings: SearchSettings
    records: tuple[Record, ...]
    folder: Path = Path()

    @property
    def strategy(self) -> str:
        """The strategy's name as printed."""
        return STRATEGIES[self.settings.policy.strategy]

    @property
    def teacher(self) -> str:
        """The teacher of knowledge distillation; empty without."""
        return self.settings.evaluation.teacher if self.settings.evaluation.distillation else ""

    @property
    def arm(self) -> str:
        """Which of the three training aids were on, named as in the paper's Fig. 3."""
        how = self.settings.evaluation
        aids = {"Polyak": how.polyak, "AUX": how.auxiliary, "KD": self.teacher != ""}
        return " + ".join(name for name, on in aids.items() if on) or "baseline"

    @cached_property
    def counted(self) -> list[Record]:
        """The candidates that count against the budget, in the order of the history."""
        return [record for record in self.records if record.status in COUNTED]

    @cached_property
    def networks(self) -> list[Record]:
        """The evaluated candidates, each network once, the best first."""
        found: dict[Genotype, Record] = {}
        for record in sorted((record for record in self.records if record.status in EVALUATED), key=rank):
            found.setdefault(record.candidate.canonical, record)
        return list(found.values())

    @cached_property
    def timeline(self) -> list[Moment]:
        """The course of the search, one moment for each candidate."""
        moments, seconds = [], 0.0
        rewards: list[float] = []
        leader: Record | None = None
        for record, spent in zip(self.records, _working_seconds(self.records), strict=True):
            seconds += spent
            leader = best_record([record, *([leader] if leader else [])])
            if record.reward is not None:
                rewards = [*rewards, record.reward][-WINDOW:]
            mean = sum(rewards) / len(rewards) if rewards else None
            moments.append(Moment(seconds / 3600, record, leader, mean))
        return moments

    @cached_property
    def comparable(self) -> str:
        """The settings that must be equal for rewards to be comparable: all but budget, seed, policy and place."""
        return _settings_text(self.settings, "policy")

    @cached_property
    def repeated(self) -> str:
        """The settings that must be equal for runs to be repetitions of one experiment: all but budget, seed, place."""
        return _settings_text(self.settings)

    @cached_property
    def apart_from_aids(self) -> str:
        """The settings that must be equal for an ablation of the training aids."""
        aids = {"polyak", "auxiliary", "distillation", "teacher"}
        values = json.loads(self.comparable)
        evaluation = {name: value for name, value in values["evaluation"].items() if name not in aids}
        return json.dumps({**values, "evaluation": evaluation})

    def rewards(self, stage: Stage) -> list[float]:
        """Rewards after a stage, in the order of the history."""
        return stage_rewards(self.records, stage)

    def count(self, status: str) -> int:
        """Number of candidates of a status."""
        return sum(record.status == status for record in self.records)


def read_runs(folders: Sequence[str | os.PathLike[str]]) -> list[SearchRun]:
    """Read runs, finished or live, each under a unique name: that of its folder, with parents where needed.

    Raises:
        FastnasError: a folder is no run or is damaged, or a run is given twice.
    """
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise FastnasError("a run is named twice: its candidates would be counted twice")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    runs = []
    for folder, path in zip(folders, paths, strict=True):
        settings, records = SearchSettings.load(path), read_records(path)
        runs.append(SearchRun("/".join(path.parts[-depth:]), settings, tuple(records), Path(folder)))
    return runs


def stage_rewards(records: Iterable[Record], stage: Stage) -> list[float]:
    """The rewards after a stage of the candidates that reached it."""
    return [value for record in records if (value := getattr(record, stage)) is not None]


def series(runs: Iterable[SearchRun]) -> dict[str, list[SearchRun]]:
    """Runs that differ only in seed and budget, together, under the name of their strategy."""
    groups: dict[str, list[SearchRun]] = {}
    for run in runs:
        groups.setdefault(run.repeated, []).append(run)
    names = Counter(group[0].strategy for group in groups.values())
    return {
        group[0].strategy if names[group[0].strategy] == 1 else ", ".join(run.name for run in group): group
        for group in groups.values()
    }


def by_seed(runs: Sequence[SearchRun]) -> dict[int, SearchRun]:
    """Runs of one series by their seeds, in order; of several of one seed, which repeat each other, the first."""
    found = {run.settings.seed: run for run in reversed(runs)}
    return {seed: found[seed] for seed in sorted(found)}


def contenders(runs: Sequence[SearchRun]) -> dict[str, list[SearchRun]]:
    """The series of learning strategies, and of random search under the same settings; all if none learns."""
    learning = {run.comparable for run in runs if run.settings.policy.strategy != "random"}
    return series(run for run in runs if not learning or run.comparable in learning)


def blocks(runs: Sequence[SearchRun], stage: Stage, size: int) -> list[list[float]]:
    """Rewards after a stage by block of `size` candidates, of all runs together (the paper's Fig. 2)."""
    longest = max((len(run.counted) for run in runs), default=0)
    return [
        [value for run in runs for value in stage_rewards(run.counted[start : start + size], stage)]
        for start in range(0, longest, size)
    ]


def ablation(runs: Iterable[SearchRun]) -> dict[str, list[SearchRun]]:
    """Random searches that differ in their training aids (and seed) alone, by these aids, the fewest first.

    Of several sets of other settings, the one with the most arms counts, then that with the most runs.
    """
    experiments: dict[str, dict[str, list[SearchRun]]] = {}
    for run in runs:
        if run.settings.policy.strategy == "random" and run.networks:
            arms = experiments.setdefault(run.apart_from_aids, {})
            other = run.arm in arms and arms[run.arm][0].teacher != run.teacher
            arms.setdefault(f"{run.arm} ({run.teacher})" if other else run.arm, []).append(run)
    arms = max(experiments.values(), key=lambda arms: (len(arms), sum(map(len, arms.values()))), default={})
    return dict(sorted(arms.items(), key=lambda arm: 0 if arm[0] == "baseline" else arm[0].count("+") + 1))


def best_share(runs: Iterable[SearchRun], share: float = BEST_SHARE) -> list[Record]:
    """The best share of each run's networks (at least one), so that runs count alike whatever their rewards."""
    return [record for run in runs for record in run.networks[: math.ceil(share * len(run.networks))]]


def operation_shares(records: Iterable[Record]) -> dict[str, float]:
    """How often each operation fills one of the seven places of a cell; sums to 1 unless there are no records."""
    counts: Counter[int] = Counter()
    for record in records:
        first, *branches = record.candidate.genotype.cell
        counts.update([first, *(operation for branch in branches for operation in branch[2:])])
    total = max(1, counts.total())
    return {name: counts[i] / total for i, name in enumerate(OPERATIONS)}


def connection_shares(records: Sequence[Record]) -> list[list[float | None]]:
    """How often each of the three sums takes each index as input: 3 rows of 6, which sum to 1; None where it cannot."""
    counts = [Counter(i for r in records for i in r.candidate.genotype.connections[block]) for block in range(BLOCKS)]
    total = max(1, 2 * len(records))
    return [
        [count[i] / total if i < ENCODER_OUTPUTS + block else None for i in range(ENCODER_OUTPUTS + BLOCKS - 1)]
        for block, count in enumerate(counts)
    ]


def seconds_by_stage(records: Iterable[Record]) -> dict[str, float]:
    """Seconds of evaluation by stage, of all candidates together, the longest first."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(record.seconds)
    return dict(total.most_common())


def _working_seconds(records: Sequence[Record]) -> list[float]:
    """Seconds from one candidate's end to the next one's, at most those that its evaluation explains."""
    if not records:
        return []
    own = [sum(record.seconds.values()) for record in records]
    passed = (after.finished - before.finished for before, after in pairwise(records))
    return [own[0], *(max(0.0, min(gap, seconds + PAUSE)) for gap, seconds in zip(passed, own[1:], strict=True))]


def _settings_text(settings: SearchSettings, *without: str) -> str:
    values: dict[str, Any] = settings.to_dict()
    if values["policy"]["strategy"] == "random":
        values["policy"] = {"strategy": "random"}  # the rest has no effect
    for name in ("seed", "candidates", "hours", "root", *without):
        del values[name]
    return json.dumps(values, sort_keys=True)
