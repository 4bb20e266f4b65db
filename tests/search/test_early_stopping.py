"""The stop rule lets through what it should, as often as it should, and can be rebuilt from a history."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest

from fastnas.errors import FastnasError
from fastnas.search.early_stopping import StopRule, rungs
from fastnas.search.settings import StopSettings

EPOCHS = 5


def rule(name: Any, rewards: list[float], seed: int = 0, **settings: Any) -> StopRule:
    start = StopRule(StopSettings(rule=name, **settings), seed, EPOCHS)
    return functools.reduce(StopRule.observe, [{EPOCHS: reward} for reward in rewards], start)


def share(stop: StopRule, reward: float, progress: float = 0.0, count: int = 4000) -> float:
    return float(np.mean([stop.continues(reward, number, progress) for number in range(count)]))


@pytest.mark.parametrize("name", ["paper", "public", "never"])
def test_the_first_candidate_and_those_above_the_mean_continue(name: str) -> None:
    assert share(rule(name, []), reward=0.0, progress=1.0) == 1
    for progress in (0.0, 0.5, 1.0):
        assert share(rule(name, [0.2, 0.4]), reward=0.31, progress=progress) == 1


@pytest.mark.parametrize(("progress", "p"), [(0.0, 0.9), (0.25, 0.675), (0.5, 0.45), (1.0, 0.0), (1.7, 0.0)])
def test_paper_below_the_mean_p_of_all_continue_and_p_falls_from_point_nine(progress: float, p: float) -> None:
    assert share(rule("paper", [0.2, 0.4]), reward=0.29, progress=progress) == pytest.approx(p, abs=0.025)


def test_paper_compares_with_the_mean_of_all_rewards() -> None:
    rewards = np.random.default_rng(0).random(50).tolist()
    assert rule("paper", rewards).mean == pytest.approx(np.mean(rewards))


@pytest.mark.parametrize(
    ("count", "delta"), [(99, 0.9), (100, 0.81), (200, 0.648), (300, 0.4536), (400, 0.27216), (4000, 0.27216)]
)
def test_public_a_score_passes_above_the_mean_less_a_random_tolerance(count: int, delta: float) -> None:
    stop = rule("public", [0.5] * count)
    assert stop.delta == pytest.approx(delta)
    assert share(stop, reward=0.5 * (1 - delta) - 1e-6) == 0
    assert share(stop, reward=0.5 * (1 - delta / 2)) == pytest.approx(0.5, abs=0.025)


def test_public_tolerates_what_is_below_a_negative_mean_too() -> None:
    stop = rule("public", [-0.5] * 10)
    assert share(stop, reward=-0.5 * (1 + 0.9 / 2)) == pytest.approx(0.5, abs=0.025)


def test_public_mean_decays() -> None:
    assert rule("public", [0.5, 1.0, 0.0]).mean == pytest.approx(0.99 * (0.99 * 0.5 + 0.01))


def test_never_stops() -> None:
    assert share(rule("never", [0.9]), reward=0.0, progress=1.0) == 1


def test_a_decision_depends_on_seed_and_candidate_alone() -> None:
    def decide(seed: int) -> list[bool]:
        stop = rule("paper", [0.5], seed=seed)
        return [stop.continues(0.1, number, 0.5) for number in range(64)]

    assert decide(0) == decide(0)
    assert decide(0) != decide(1)


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_refused(reward: float) -> None:
    with pytest.raises(FastnasError, match="finite"):
        rule("paper", [reward])


def test_halving_lets_the_best_third_of_a_rung_go_on() -> None:
    assert (rungs(StopSettings(rule="halving"), 5), rungs(StopSettings(rule="halving"), 9)) == ((1, 5), (1, 3, 9))
    assert rungs(StopSettings(rule="paper"), 9) == (9,)
    stop = StopRule(StopSettings(rule="halving"), 0, 9)
    order = np.random.default_rng(0).permutation(300) / 300
    went_on = 0
    for number, reward in enumerate(order.tolist()):
        goes = stop.continues(reward, number, 0.5, 3)
        above = sum(other > reward for other in stop.seen.get(3, ()))
        assert goes == (above <= number / 3)
        went_on += goes
        stop = stop.observe({1: 0.9, 3: reward})
    assert went_on == pytest.approx(100, abs=10)
    assert stop.continues(0.5, 300, 0.5, 9)  # the first at another rung
    assert len(stop.seen[1]) == 300
