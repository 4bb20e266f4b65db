"""Costs are those of the deployed network, limits refuse by name, and the Pareto front holds no dominated candidate."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fastnas.data.synthetic.dataset import SEGMENTATION
from fastnas.models.counts import count
from fastnas.models.genotype import Genotype
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from fastnas.search.costs import Point, cost_points, costs, pareto_front, refusal, weighted
from fastnas.search.history import Candidate, Record
from fastnas.search.settings import LimitSettings

COSTS = {"parameters": 2.6e6, "madds": 4.2e9, "latency": 50.0}


def test_costs_are_those_of_the_trained_network(tmp_path: Path) -> None:
    found = costs(ZOO["arch0"], SEGMENTATION, "mobilenet_v2", LimitSettings(resolution=64), tmp_path)
    counts = count(build(ModelSpec("arch0", SEGMENTATION)), (64, 64))
    assert found == {"parameters": counts.parameters, "madds": counts.multiply_adds}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({}, None),
        ({"parameters": 2.6, "madds": 4.2, "latency": 50}, None),
        ({"parameters": 2.5}, "parameters (M): 2.60, over the limit of 2.5"),
        ({"madds": 4}, "multiply-adds (G): 4.20, over the limit of 4"),
        ({"latency": 49.9}, "latency (ms): 50.00, over the limit of 49.9"),
    ],
)
def test_limits_refuse_by_name(limits: dict[str, float], reason: str | None) -> None:
    assert refusal(COSTS, LimitSettings(**limits)) == reason


def test_the_soft_reward() -> None:
    limits = LimitSettings(target_latency=25)
    assert weighted(0.6, COSTS, limits) == pytest.approx(0.6 * 2**-0.07)
    assert weighted(0.6, COSTS | {"latency": 25}, limits) == 0.6
    assert weighted(0.6, COSTS | {"latency": 10}, limits) > 0.6
    assert weighted(0.6, {}, LimitSettings()) == 0.6


def record(number: int, reward: float, cost: float, **fields: object) -> Record:
    genotype = Genotype.random(random.Random(number))
    scores = {"latency": cost}
    values = {"reward": reward, "stage1": reward, "scores": scores} | fields
    return Record(Candidate(number, genotype, -1.0, 0), "done", **values)  # type: ignore[arg-type]


def test_no_point_of_the_front_is_dominated() -> None:
    rng = random.Random(0)
    points = cost_points((record(i, rng.random(), rng.random()) for i in range(60)), "latency")
    front = pareto_front(points)

    def dominated(p: Point) -> bool:
        return any(
            (o.reward, o.cost) != (p.reward, p.cost) and o.reward >= p.reward and o.cost <= p.cost for o in points
        )

    assert {id(p) for p in front} == {id(p) for p in points if not dominated(p)}
    assert [p.cost for p in front] == sorted(p.cost for p in front)


def test_the_front_is_of_the_reward_without_its_weight_and_may_be_negative() -> None:
    fast, slow = record(0, 0.9, 10.0, stage1=-0.5), record(1, 0.4, 20.0, stage1=-0.6, stage2=-0.4)
    front = pareto_front(cost_points([slow, fast, record(2, 0.5, 1.0, scores={})], "latency"))
    assert front == [(10.0, -0.5, fast), (20.0, -0.4, slow)]
