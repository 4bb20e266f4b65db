"""What searches say in numbers: pure functions over their histories, which the report prints and draws."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from fastnas.errors import FastnasError
from fastnas.models.genotype import BLOCKS, ENCODER_OUTPUTS, Genotype
from fastnas.models.operations import OPERATIONS
from fastnas.search.history import Record, rank, read_records
from fastnas.search.settings import SearchSettings

Stage = Literal["stage1", "stage2"]
STAGES: tuple[Stage, ...] = ("stage1", "stage2")
STRATEGIES = {"ppo": "PPO", "reinforce": "REINFORCE", "random": "random search"}
BEST_SHARE = 0.1
"""The part of a run's candidates that counts as its best in the statistics of operations and connections."""
PAUSE = 60.0
"""Seconds that may pass beyond an evaluation's own time before a search counts as interrupted."""


@dataclass(frozen=True)
class SearchRun:
    """A run as it was when it was read; candidates that were reused have the stage rewards of their originals."""

    name: str
    settings: SearchSettings
    records: tuple[Record, ...]

    @property
    def strategy(self) -> str:
        """How candidates were proposed, in words."""
        return STRATEGIES[self.settings.policy.strategy]

    @property
    def arm(self) -> str:
        """Which of the three aids of training were on, in the words of the paper's Fig. 3."""
        how = self.settings.evaluation
        aids = {"Polyak": how.polyak, "AUX": how.auxiliary, "KD": how.distillation and how.teacher != ""}
        return " + ".join(name for name, on in aids.items() if on) or "baseline"

    def rewards(self, stage: Stage) -> list[float]:
        """Rewards after a stage, in the order they came in."""
        return [value for record in self.records if (value := getattr(record, stage)) is not None]

    def count(self, status: str) -> int:
        """Candidates that ended so."""
        return sum(record.status == status for record in self.records)


def read_run(folder: str | os.PathLike[str], name: str | None = None) -> SearchRun:
    """Read a run, finished or live.

    Raises:
        FastnasError: it is no run folder, or it is damaged.
    """
    settings, records = SearchSettings.load(folder), read_records(folder)
    by_number = {record.proposal.number: record for record in records}
    for i, record in enumerate(records):
        if record.reused is not None and record.reused in by_number:
            original = by_number[record.reused]
            records[i] = dataclasses.replace(record, stage1=original.stage1, stage2=original.stage2)
    return SearchRun(name or Path(folder).resolve().name, settings, tuple(records))


def read_runs(folders: Sequence[str | os.PathLike[str]]) -> list[SearchRun]:
    """Read runs, each under a name of its own: that of its folder, with its parents' where two are the same.

    Raises:
        FastnasError: as `read_run`; or a run is named twice.
    """
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise FastnasError("a run is named twice: its candidates would be counted twice")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return [read_run(path, "/".join(path.parts[-depth:])) for path in paths]


def series(runs: Iterable[SearchRun]) -> dict[str, list[SearchRun]]:
    """Runs that differ in nothing but seed and budget, together, under the name of their strategy."""
    groups: dict[str, list[SearchRun]] = {}
    for run in runs:
        groups.setdefault(_setting_key(run, policy=True), []).append(run)
    names = Counter(group[0].strategy for group in groups.values())
    labelled = {}
    for group in groups.values():
        label = group[0].strategy
        if names[label] > 1:
            label = ", ".join(run.name for run in group)
        labelled[label] = group
    return labelled


def contenders(runs: Sequence[SearchRun]) -> dict[str, list[SearchRun]]:
    """The series in which a strategy learns, and random search under the same settings; all where none learns."""
    learning = {_setting_key(run) for run in runs if run.settings.policy.strategy != "random"}
    return series(run for run in runs if not learning or _setting_key(run) in learning)


def blocks(runs: Sequence[SearchRun], stage: Stage, size: int) -> list[list[float]]:
    """Rewards after a stage by block of `size` candidates, of all runs together (the paper's Fig. 2)."""
    count = max((math.ceil(len(run.records) / size) for run in runs), default=0)
    found: list[list[float]] = [[] for _ in range(count)]
    for run in runs:
        for i, record in enumerate(run.records):
            if (value := getattr(record, stage)) is not None:
                found[i // size].append(value)
    return found


def last_third(runs: Sequence[SearchRun], stage: Stage) -> list[float]:
    """Rewards after a stage in the last third of each run's candidates."""
    tails = (dataclasses.replace(run, records=run.records[len(run.records) * 2 // 3 :]) for run in runs)
    return [value for tail in tails for value in tail.rewards(stage)]


@dataclass(frozen=True)
class Comparison:
    """A one-sided Mann-Whitney test of whether the first of two samples is larger.

    Attributes:
        first, second: what is compared.
        stage: after which the rewards were taken.
        counts, medians: of the two samples.
        chance: probability that one drawn from the first exceeds one drawn from the second, ties counted half.
        p: probability of so large a chance if both came from one distribution.
    """

    first: str
    second: str
    stage: Stage
    counts: tuple[int, int]
    medians: tuple[float, float]
    chance: float
    p: float


def comparisons(runs: Sequence[SearchRun]) -> list[Comparison]:
    """The last third of each learning series against that of random search under the same settings."""
    groups, found = contenders(runs), []
    for first, learning in groups.items():
        for second, random in groups.items():
            strategies = learning[0].settings.policy.strategy, random[0].settings.policy.strategy
            if strategies[0] == "random" or strategies[1] != "random":
                continue
            if _setting_key(learning[0]) != _setting_key(random[0]):
                continue
            for stage in STAGES:
                samples = last_third(learning, stage), last_third(random, stage)
                if min(map(len, samples)) >= 3:
                    test = stats.mannwhitneyu(*samples, alternative="greater")
                    counts = len(samples[0]), len(samples[1])
                    medians = float(np.median(samples[0])), float(np.median(samples[1]))
                    chance = float(test.statistic) / (counts[0] * counts[1])
                    found.append(Comparison(first, second, stage, counts, medians, chance, float(test.pvalue)))
    return found


def ablation(runs: Iterable[SearchRun], stage: Stage) -> dict[str, list[float]]:
    """Rewards of random architectures by the aids of their training (the paper's Fig. 3), the barest first."""
    arms: dict[str, list[float]] = {}
    for run in runs:
        if run.settings.policy.strategy == "random" and (rewards := run.rewards(stage)):
            arms.setdefault(run.arm, []).extend(rewards)
    return dict(sorted(arms.items(), key=lambda arm: 0 if arm[0] == "baseline" else arm[0].count("+") + 1))


def distinct(records: Iterable[Record]) -> list[Record]:
    """Candidates with a reward, each network once, the best first: those that went through all stages, then others."""
    found: dict[Genotype, Record] = {}
    for record in records:
        if record.reward is not None and record.status != "reused":
            found.setdefault(record.genotype.canonical(), record)
    return sorted(found.values(), key=rank)


@dataclass(frozen=True)
class FinalScore:
    """A candidate that was also trained fully: its name, its reward in the search, and its final score."""

    name: str
    reward: float
    score: float


def final_scores(runs: Sequence[SearchRun], scores: Mapping[str, tuple[Genotype, float]]) -> list[FinalScore]:
    """Pair trained models with the rewards that a search gave them.

    Args:
        runs: where two know a network, the first counts.
        scores: genotype and final score of each model, by name; those of networks that no run knows are left out.
    """
    rewards: dict[Genotype, float] = {}
    for run in runs:
        for record in distinct(run.records):
            rewards.setdefault(record.genotype.canonical(), _reward(record))
    known = ((name, rewards.get(genotype.canonical()), score) for name, (genotype, score) in scores.items())
    return [FinalScore(name, reward, score) for name, reward, score in known if reward is not None]


def spearman(points: Sequence[FinalScore]) -> tuple[float, float] | None:
    """Spearman's rho of reward against final score, and its p-value; None where there is no such thing.

    At least three points are needed, and neither side may be constant.
    """
    if min(len({p.reward for p in points}), len({p.score for p in points})) < 2 or len(points) < 3:
        return None
    result = stats.spearmanr([point.reward for point in points], [point.score for point in points])
    return float(result.statistic), float(result.pvalue)


def best(runs: Iterable[SearchRun], share: float = BEST_SHARE) -> list[Record]:
    """The best share of each run's networks (at least one), so that runs with other rewards count alike."""
    ranked = (distinct(run.records) for run in runs)
    return [record for records in ranked for record in records[: math.ceil(share * len(records))]]


def operation_shares(records: Iterable[Record]) -> dict[str, float]:
    """How often each operation fills one of the seven places of a cell; sums to 1 unless there are no records."""
    counts: Counter[int] = Counter()
    for record in records:
        genotype = record.genotype
        counts.update([genotype.cell[0], *(operation for branch in genotype.branches for operation in branch[2:])])
    total = max(1, counts.total())
    return {name: counts[i] / total for i, name in enumerate(OPERATIONS)}


def connection_shares(records: Iterable[Record]) -> npt.NDArray[np.float64]:
    """How often each of the three sums draws each index of the pool: [3, 6], rows sum to 1; NaN: cannot be drawn."""
    counts = np.zeros((BLOCKS, ENCODER_OUTPUTS + BLOCKS - 1))
    for record in records:
        for block, pair in enumerate(record.genotype.connections):
            for index in pair:
                counts[block, index] += 1
    counts /= np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for block in range(BLOCKS):
        counts[block, ENCODER_OUTPUTS + block :] = np.nan
    return counts


@dataclass(frozen=True)
class Moment:
    """A search after one more candidate.

    Attributes:
        hours: that it has worked so far, interruptions left out.
        record: the candidate.
        best: reward so far; None before the first.
        mean: reward of the last 20 candidates that have one.
        stopped: share of those that were stopped after stage 1.
    """

    hours: float
    record: Record
    best: float | None
    mean: float | None
    stopped: float


def timeline(records: Sequence[Record], window: int = 20) -> list[Moment]:
    """The course of a search, one moment for each candidate."""
    moments, hours, recent = [], 0.0, list[Record]()
    leader: float | None = None
    for record, spent in zip(records, _working_seconds(records), strict=True):
        hours += spent / 3600
        if record.reward is not None:
            leader = record.reward if leader is None else max(leader, record.reward)
            recent = [*recent, record][-window:]
        mean = sum(map(_reward, recent)) / len(recent) if recent else None
        stopped = sum(each.status == "stopped" for each in recent) / max(1, len(recent))
        moments.append(Moment(hours, record, leader, mean, stopped))
    return moments


def candidates_per_hour(records: Sequence[Record]) -> float | None:
    """Candidates per hour of work, interruptions left out; None before any time has passed."""
    seconds = sum(_working_seconds(records))
    return 3600 * len(records) / seconds if seconds else None


def time_spent(records: Iterable[Record]) -> dict[str, float]:
    """Seconds by what they were spent on, of all candidates together."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(record.seconds)
    return dict(total.most_common())


def _working_seconds(records: Sequence[Record]) -> list[float]:
    """Seconds from one candidate's end to the next one's, the longest that its evaluation explains."""
    if not records:
        return []
    own = [sum(record.seconds.values()) for record in records]
    passed = (after.finished - before.finished for before, after in pairwise(records))
    return [own[0], *(max(0.0, min(gap, seconds + PAUSE)) for gap, seconds in zip(passed, own[1:], strict=True))]


def _reward(record: Record) -> float:
    """The reward of a candidate that is known to have one."""
    assert record.reward is not None
    return record.reward


def _setting_key(run: SearchRun, *, policy: bool = False) -> str:
    """The settings that make rewards comparable, as text; with `policy`, also how candidates were proposed."""
    values = run.settings.to_dict()
    if values["policy"]["strategy"] == "random":
        values["policy"] = {"strategy": "random"}  # the rest has no effect
    for name in ("seed", "candidates", "hours", "root", *([] if policy else ["policy"])):
        del values[name]
    return json.dumps(values, sort_keys=True)
