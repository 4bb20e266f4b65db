"""Costs are those of the deployed network, limits refuse by name, and the Pareto front has nobody who is beaten."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fastnas.data.synthetic.dataset import SEGMENTATION
from fastnas.models.counts import count
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from fastnas.search.costs import costs, pareto_front, refusal, weighted
from fastnas.search.history import Record
from fastnas.search.policy import Proposal
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
        ({"parameters": 2.5}, "2.60 million parameters, more than 2.5"),
        ({"madds": 4}, "4.20 G multiply-adds, more than 4"),
        ({"latency": 49.9}, "50.00 ms, more than 49.9"),
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
    genotype = [random.Random(number).randrange(2) for _ in range(19)]
    scores = {"latency": cost}
    values = {"reward": reward, "stage1": reward, "scores": scores} | fields
    return Record(Proposal(number, tuple(genotype), -1.0, 0), "done", **values)  # type: ignore[arg-type]


def test_nobody_on_the_front_is_beaten() -> None:
    rng = random.Random(0)
    records = [record(i, rng.random(), rng.random()) for i in range(60)]
    front = pareto_front(records)

    def beaten(r: Record) -> bool:
        return any(
            (o.stage1, -o.scores["latency"]) != (r.stage1, -r.scores["latency"])
            and (o.stage1 or 0) >= (r.stage1 or 0)
            and o.scores["latency"] <= r.scores["latency"]
            for o in records
        )

    assert {r.proposal.number for r in front} == {r.proposal.number for r in records if not beaten(r)}
    assert [r.scores["latency"] for r in front] == sorted(r.scores["latency"] for r in front)


def test_the_front_is_of_accuracy_not_of_the_weighted_reward() -> None:
    fast, slow = record(0, 0.9, 10.0, stage1=0.5), record(1, 0.4, 20.0, stage1=0.4, stage2=0.6)
    assert pareto_front([slow, fast]) == [fast, slow]
    assert pareto_front([record(2, 0.5, 1.0, scores={})]) == []
