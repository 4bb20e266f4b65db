"""Costs are those of the deployed network, limits refuse by name, and the Pareto front holds no dominated candidate."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path

import pytest

from fastnas.console import PlainConsole
from fastnas.data import open_dataset
from fastnas.data.synthetic.dataset import SEGMENTATION
from fastnas.models.counts import count
from fastnas.models.genotype import Genotype
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from fastnas.search.costs import Point, cost_points, costs, pareto_front, refusal, weighted, with_target
from fastnas.search.history import Candidate, Record
from fastnas.search.progress import front_table
from fastnas.search.settings import LimitSettings, SearchSettings

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


def test_what_costs_more_than_the_target_is_worth_less() -> None:
    """Twice the target costs the weight; what is below a target is worth its accuracy."""
    limits = LimitSettings(target_latency=25, target_madds=4.2, cost_weight=0.15)
    assert weighted(0.6, COSTS, limits) == pytest.approx(0.45)
    assert weighted(0.6, COSTS | {"madds": 8.4e9}, limits) == pytest.approx(0.3)
    assert weighted(0.6, COSTS | {"latency": 10.0}, limits) == 0.6
    assert weighted(0.6, {}, LimitSettings()) == weighted(0.6, {}, LimitSettings(target_madds=0)) == 0.6


def test_the_soft_form_of_latency() -> None:
    limits = LimitSettings(target_latency=25, cost_weight=0, latency_exponent=-0.07)
    assert weighted(0.6, COSTS, limits) == pytest.approx(0.6 * 2**-0.07)
    assert weighted(0.6, COSTS | {"latency": 10}, limits) > 0.6


def test_a_search_without_a_target_has_that_of_arch0() -> None:
    settings = SearchSettings(data="synthetic:val", limits=LimitSettings(resolution=64, parameters=3.0))
    task = open_dataset("synthetic", None, "train", None).task
    expected = count(build(ModelSpec("arch0", task)), (64, 64)).multiply_adds / 1e9
    assert with_target(settings).limits.target_madds == pytest.approx(expected, abs=5e-4)
    for chosen in ({"target_latency": 9.0}, {"target_madds": 0.0}, {"latency": 9.0}, {"madds": 3.0}):
        given = replace(settings, limits=replace(settings.limits, **chosen))
        assert with_target(given) == given


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


def test_the_front_is_printed_by_rising_cost() -> None:
    console = PlainConsole(width=200, record=True, file=io.StringIO())
    slow, fast, dominated = record(0, 0.9, 20.0), record(1, 0.5, 10.0), record(2, 0.4, 15.0)
    console.print(front_table([slow, fast, dominated]))
    title, _, *rows = console.export_text().splitlines()
    assert title.strip() == "Pareto front of reward and latency (ms)"
    assert [row.split()[:3] for row in rows] == [["10.00", "0.500", "1"], ["20.00", "0.900", "0"]]
    assert str(fast.candidate.genotype) in rows[0]
