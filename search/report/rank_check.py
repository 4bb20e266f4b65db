"""Whether the reward of a search ranks networks as full training does, by the trainings of `fastnas rank-check`.

A folder `rank-check` in the run's own holds the plan and the model of every training that is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from fastnas.config import FILE, REQUIRED, Settings, setting
from fastnas.models.header import read_header
from fastnas.search.history import Record, read_records
from fastnas.search.report.comparison import Values, bootstrap_interval
from fastnas.search.report.finals import spearman
from fastnas.tasks.base import Score
from fastnas.tasks.registry import head_for
from fastnas.train.settings import RunSettings

FOLDER = "rank-check"


@dataclass(frozen=True)
class Plan(Settings):
    """What a check trains."""

    numbers: tuple[int, ...] = setting(REQUIRED, "The candidates of the search that are trained.", 0)
    seeds: int = setting(REQUIRED, "Trainings of each, with seeds from 0.", 1)
    training: RunSettings = setting(REQUIRED, "The first training; the others differ in network and seed.")


@dataclass(frozen=True)
class Checked:
    """A network with its rewards and final scores.

    Attributes:
        number: of the candidate.
        genotype: its text.
        reward: after the last stage that it reached, without a weight for cost.
        stage1: reward after stage 1.
        scores: of the trainings, by seed.
    """

    number: int
    genotype: str
    reward: float
    stage1: float
    scores: list[float]


@dataclass(frozen=True)
class Agreement:
    """Spearman's rho of two values of the same networks.

    Attributes:
        values: which, such as "reward and final score".
        among: of which networks.
        networks: how many.
        rho: its value.
        interval: with 95 % confidence, by bootstrap over the networks.
    """

    values: str
    among: str
    networks: int
    rho: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Check:
    """A check as far as it is done.

    Attributes:
        score: name of the metric of the final scores.
        planned, trained: how many trainings.
        failed: reasons of the trainings that ended without a score.
        networks: those that were trained with every seed, the highest reward first.
        agreements: of their values.
    """

    score: str
    planned: int
    trained: int
    failed: dict[str, str] = field(default_factory=dict)
    networks: list[Checked] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def own_reward(record: Record) -> float:
    """The reward of a candidate that ended stage 1, without a weight for its cost."""
    reward = record.stage1 if record.stage2 is None else record.stage2
    assert reward is not None
    return reward


def training_name(number: int, seed: int) -> str:
    """The name of a training's files."""
    return f"candidate{number}-seed{seed}"


def read_check(run: Path) -> Check | None:
    """The check of a run, finished or not; None without any.

    Raises:
        FastnasError: the plan, the history or a model is damaged.
    """
    folder = run / FOLDER
    if not (folder / FILE).is_file():
        return None
    plan = Plan.load(folder)
    head = head_for(plan.training.model.task)
    found: dict[int, list[float]] = {}
    failed, trained, score = {}, 0, Score("score", 0.0, True)
    records = {record.candidate.number: record for record in read_records(run)}
    for number in plan.numbers:
        for seed in range(plan.seeds):
            name = training_name(number, seed)
            if (folder / f"{name}.safetensors").is_file():
                score, trained = head.score(read_header(folder / f"{name}.safetensors")["metrics"]), trained + 1
                found.setdefault(number, []).append(score.value)
            elif (folder / f"{name}.failed").is_file():
                failed[name], trained = (folder / f"{name}.failed").read_text(), trained + 1
    networks = [
        Checked(number, str(record.candidate.genotype), own_reward(record), float(record.stage1 or 0), scores)
        for number, scores in found.items()
        if len(scores) == plan.seeds and (record := records.get(number)) is not None
    ]
    networks.sort(key=lambda network: -network.reward)
    sign = 1 if score.higher_is_better else -1
    planned = len(plan.numbers) * plan.seeds
    return Check(score.name, planned, trained, failed, networks, agreements(networks, sign))


def agreements(networks: Sequence[Checked], sign: int = 1) -> list[Agreement]:
    """How rewards and final scores of networks agree, of all and of the better half by reward.

    Args:
        networks: the highest reward first.
        sign: -1 for scores of which lower ones are better.
    """
    found = []
    for among, those in (("all", networks), ("the upper half", networks[: -(-len(networks) // 2)])):
        means = [sign * float(np.mean(network.scores)) for network in those]
        pairs = [("reward and final score", [network.reward for network in those], means)]
        pairs.append(("reward of stage 1 and final score", [network.stage1 for network in those], means))
        if those and len(those[0].scores) > 1:
            seeds = np.array([network.scores for network in those])
            pairs.append(("final scores of two seeds", seeds[:, 0].tolist(), seeds[:, 1].tolist()))
        for values, first, second in pairs:
            if (rho := spearman_with_interval(first, second)) is not None:
                found.append(Agreement(values, among, len(those), *rho))
    return found


def spearman_with_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, tuple[float, float]] | None:
    """Spearman's rho, and its interval with 95 % confidence by bootstrap over the pairs (percentiles).

    None where `spearman` gives none. Resamples in which all values of one are equal are left out.
    """
    found = spearman(first, second)
    return None if found is None else (found[0], bootstrap_interval(np.array([first, second], float).T, _rhos))


def _rhos(samples: Values) -> Values:
    """Spearman's rho of resampled pairs [R, N, 2]; NaN where all values of one are equal."""
    ranks = stats.rankdata(samples, axis=1)
    x, y = np.moveaxis(ranks - ranks.mean(1, keepdims=True), 2, 0)
    with np.errstate(invalid="ignore"):
        rhos: Values = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return rhos
