"""Histories of searches that never ran: a toy reward, read off the genotype, stands in for training."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np

from fastnas.models.genotype import Genotype
from fastnas.search.driver import Job
from fastnas.search.early_stopping import StopRule
from fastnas.search.history import Candidate, Record
from fastnas.search.settings import EvaluationSettings, PolicySettings, SearchSettings
from fastnas.search.strategies.registry import make_strategy

QUICK = PolicySettings(learning_rate=5e-3, batch=4)


def settings(strategy: str = "ppo", seed: int = 0, **evaluation: object) -> SearchSettings:
    """Settings of a toy search."""
    policy = dataclasses.replace(QUICK, strategy=strategy)
    return SearchSettings(seed=seed, policy=policy, evaluation=EvaluationSettings(**evaluation))  # type: ignore[arg-type]


def toy_reward(genotype: Genotype) -> float:
    """Deep connections and separable operations pay, from 0.2 to 0.7."""
    deep = sum(index >= 3 for pair in genotype.connections for index in pair) / 6
    operations = [genotype.cell[0], *(operation for branch in genotype.branches for operation in branch[2:])]
    return 0.2 + 0.25 * deep + 0.25 * sum(operation in (2, 3, 7, 8) for operation in operations) / 7


def toy_job(number: int, settings: SearchSettings) -> Job:
    """The job of a random candidate."""
    genotype = Genotype.random(random.Random(number))
    return Job(Candidate(number, genotype, -1.0, 0), 1000 + number, StopRule(settings.stop, 0, 1), 0.0)


def write_run(folder: Path, how: SearchSettings, count: int, *, bonus: float = 0.0, start: float = 1.7e9) -> Path:
    """A run folder of `count` candidates: some stopped, one failed in 23, one refused in 31, equal ones reused."""
    strategy, rng = make_strategy(how.policy, how.seed), np.random.default_rng(how.seed)
    seen: dict[Genotype, Record] = {}
    lines, clock = [], start
    for number in range(count):
        decisions, log_prob = next(strategy.draws(number))
        genotype = Genotype.from_decisions(decisions)
        candidate = Candidate(number, genotype, log_prob, strategy.version)
        stage1 = toy_reward(genotype) + bonus + float(rng.normal(0, 0.03))
        costs = {"parameters": 1e6 * (1.9 + rng.random()), "madds": 1e9 * (2 + 2 * rng.random())}
        costs["latency"] = 40 + 80 * stage1 + 10 * rng.random()
        seconds = {"stage1": 20 + 10 * float(rng.random())}
        stage2 = stage1 + 0.08 if rng.random() < 0.6 else None
        if number % 23 == 7:
            record = Record(candidate, "failed", reason="out of memory", seconds=seconds)
        elif number % 31 == 11:
            record = Record(candidate, "refused", reason="2.9 M parameters, more than 2.8", scores=costs)
        elif (original := seen.get(candidate.canonical)) is not None:
            record = Record(candidate, "reused", reward=original.reward, reused=original.candidate.number)
        elif stage2 is None:
            record = Record(candidate, "stopped", reward=stage1, stage1=stage1, scores=costs, seconds=seconds)
        else:
            seconds["stage2"] = 40 + 5 * float(rng.random())
            record = Record(candidate, "done", stage2, stage1, stage2, scores=costs, seconds=seconds)
        clock += sum(record.seconds.values()) + 0.5
        record = dataclasses.replace(record, finished=clock)
        if record.status in ("done", "stopped"):
            seen[candidate.canonical] = record
        strategy.observe(decisions, log_prob, record.reward)
        lines.append(record.to_json() + "\n")
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(how.to_json())
    (folder / "history.jsonl").write_text("".join(lines))
    return folder
