"""How good the networks are that each strategy finds with the same budget, and how soon it finds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastnas.search.best import rank
from fastnas.search.history import Record
from fastnas.search.report.statistics import SearchRun, by_seed

LEADERS = 10
"""Number of the best networks of a run whose mean reward is taken."""


@dataclass(frozen=True)
class Efficiency:
    """What the runs of a strategy found, each value by run, in the order of their seeds.

    Rewards are those that the strategies learn from, with the weight of the cost.

    Attributes:
        strategy: name of the series of runs.
        seeds: of the runs.
        candidates: of each run, from its first one; as many as the shortest run under these settings has.
        best: reward of the best network.
        leaders: mean reward of the ten best networks.
        until: candidates until one is as good as the best of random search with the same seed; None if none is, or
            there is no such run.
        courses: reward of the best candidate so far, after each; None before the first reward.
    """

    strategy: str
    seeds: tuple[int, ...]
    candidates: int
    best: tuple[float, ...]
    leaders: tuple[float, ...]
    until: tuple[int | None, ...]
    courses: tuple[tuple[float | None, ...], ...]


def efficiencies(groups: Mapping[str, Sequence[SearchRun]]) -> list[Efficiency]:
    """Strategies under the same settings, where there are several, that with the best leaders first."""
    rivals: dict[str, dict[str, Sequence[SearchRun]]] = {}
    for name, runs in groups.items():
        rivals.setdefault(runs[0].comparable, {})[name] = runs
    compared = [each for named in rivals.values() if len(named) > 1 for each in _compared(named)]
    return sorted(compared, key=lambda each: -sum(each.leaders) / len(each.leaders))


def _compared(named: Mapping[str, Sequence[SearchRun]]) -> list[Efficiency]:
    """The series with rewards among as many candidates of each run as the shortest run that has some has."""
    count = min((len(run.counted) for runs in named.values() for run in runs if run.networks), default=0)
    cut = {
        name: by_seed([run for each in runs if (run := _first(each, count)).networks]) for name, runs in named.items()
    }
    goals = {
        seed: run.networks[0]
        for runs in cut.values()
        for seed, run in runs.items()
        if run.settings.policy.strategy == "random"
    }
    return [_efficiency(name, runs, count, goals) for name, runs in cut.items() if runs]


def _first(run: SearchRun, count: int) -> SearchRun:
    return dataclasses.replace(run, records=tuple(run.counted[:count]))


def _efficiency(name: str, runs: Mapping[int, SearchRun], count: int, goals: Mapping[int, Record]) -> Efficiency:
    leaders = [[record.reward or 0.0 for record in run.networks[:LEADERS]] for run in runs.values()]
    return Efficiency(
        name,
        tuple(runs),
        count,
        tuple(rewards[0] for rewards in leaders),
        tuple(sum(rewards) / len(rewards) for rewards in leaders),
        tuple(_until(run, goals[seed]) if seed in goals else None for seed, run in runs.items()),
        tuple(tuple(moment.best for moment in run.timeline) for run in runs.values()),
    )


def _until(run: SearchRun, goal: Record) -> int | None:
    """Candidates until the best is at least as good as `goal`."""
    leaders = enumerate((moment.leader for moment in run.timeline), start=1)
    return next((i for i, leader in leaders if leader and rank(leader)[:2] <= rank(goal)[:2]), None)
