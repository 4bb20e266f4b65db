"""The statistics of a report, on samples with known answers."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype
from fastnas.models.zoo import ZOO
from fastnas.search.history import Candidate, Record
from fastnas.search.report import comparison, statistics
from fastnas.search.report.efficiency import efficiencies
from fastnas.search.report.finals import FinalScore, final_scores, spearman
from fastnas.search.report.statistics import SearchRun
from fastnas.search.report.summary import ranked, summarise
from fastnas.search.settings import LimitSettings, SearchSettings
from tests.helpers.search_toys import settings, write_run


def record(number: int, reward: float | None = 0.5, **fields: object) -> Record:
    candidate = Candidate(number, Genotype.random(random.Random(number)), -1.0, 0)
    values = {"status": "done" if reward is not None else "failed", "stage1": reward} | fields
    return Record(candidate, reward=reward, **values)  # type: ignore[arg-type]


def run(name: str, rewards: list[float], how: SearchSettings) -> SearchRun:
    return SearchRun(name, how, tuple(record(i, reward) for i, reward in enumerate(rewards)))


def test_blocks_hold_each_reward_once_and_count_the_failed() -> None:
    one = SearchRun("one", settings(), tuple(record(i, None if i == 1 else i / 10) for i in range(5)))
    two = SearchRun("two", settings(seed=1), (record(0, 0.9, stage2=0.95),))
    assert statistics.blocks([one, two], "stage1", 2) == [[0.0, 0.9], [0.2, 0.3], [0.4]]
    assert statistics.blocks([one, two], "stage2", 2) == [[0.95], [], []]
    assert statistics.blocks([], "stage1", 2) == []


def test_runs_that_differ_in_seed_alone_are_one_series() -> None:
    runs = [
        run("a", [0.1], settings(seed=0)),
        run("b", [0.1], settings(seed=1)),
        run("c", [0.1], settings("random")),
        run("d", [0.1], dataclasses.replace(settings("random"), candidates=9)),
    ]
    assert {label: [r.name for r in group] for label, group in statistics.series(runs).items()} == {
        "PPO": ["a", "b"],
        "random search": ["c", "d"],
    }
    other = run("e", [0.1], settings(seed=0, channels=24))
    assert list(statistics.series([runs[0], other])) == ["a", "e"]


def last_third(name: str, rewards: list[float], how: SearchSettings) -> SearchRun:
    """A run of 3 N candidates whose last N rewards are given."""
    return run(name, [0.9] * 2 * len(rewards) + rewards, how)


def test_runs_are_compared_in_pairs_of_one_seed() -> None:
    runs = [
        last_third("p0", [0.7, 0.8, 0.9], settings(seed=0)),
        last_third("p1", [0.2, 0.3, 0.4], settings(seed=1)),
        last_third("p3", [0.9, 0.9, 0.9], settings(seed=3)),
        last_third("r1", [0.1, 0.2, 0.3], settings("random", seed=1)),
        last_third("r0", [0.5, 0.6, 0.7], settings("random", seed=0)),
        last_third("again", [0.0, 0.0, 0.0], settings("random", seed=0)),
    ]
    groups = statistics.contenders(runs)
    (found,) = comparison.comparisons(groups)
    assert (found.first, found.second, found.stage, found.seeds) == ("PPO", "random search", "stage1", (0, 1))
    assert found.medians == pytest.approx((0.55, 0.4))
    assert found.difference == pytest.approx(0.15)
    assert found.win_rate == pytest.approx(((8.5 + 7) / 9) / 2)
    assert found.interval == pytest.approx((0.1, 0.2))
    assert found.p == pytest.approx(1 / 4), "of the four signs of two differences only the observed ones are as high"
    assert comparison.unpaired(groups) == ["p3", "again"]


def test_one_run_of_each_has_no_p_value_however_many_candidates() -> None:
    runs = [
        last_third("p", [0.8 + i / 1000 for i in range(50)], settings()),
        last_third("r", [0.1 + i / 1000 for i in range(50)], settings("random")),
    ]
    (found,) = comparison.comparisons(statistics.contenders(runs))
    assert found.win_rate == 1
    assert (found.interval, found.p) == (None, None)


def test_the_longer_run_is_cut_and_refused_candidates_and_copies_do_not_count() -> None:
    short = last_third("p", [0.5, 0.5], settings())
    refused = record(100, None, status="refused", stage1=None)
    copy = record(101, 0.99, status="reused", stage1=None, reused=0)
    long = run("r", [0.0] * 4 + [0.3, 0.4] + [0.9] * 30, settings("random"))
    padded = dataclasses.replace(long, records=(refused, copy) * 5 + long.records)
    (found,) = comparison.comparisons(statistics.contenders([short, padded]))
    assert found.medians == pytest.approx((0.5, 0.35))


def test_signs_are_flipped_exactly_for_few_pairs_and_by_chance_for_many() -> None:
    """All differences are positive, so that only the observed signs have a mean as high."""
    assert comparison.sign_flip_p(np.ones(5)) == 1 / 32
    assert comparison.sign_flip_p(np.zeros(3)) == 1
    assert comparison.sign_flip_p(np.array([1.0, -1.0] * 10)) == pytest.approx(0.588, abs=0.02)
    assert 0 < comparison.sign_flip_p(np.ones(20)) < 1e-3


def test_the_bootstrap_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(0.1, 0.05, 40)
    low, high = comparison.bootstrap_interval(values)
    half = 1.96 * values.std() / 40**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=2e-3)


def test_rewards_under_other_settings_are_not_compared() -> None:
    rewards = [0.1 * i for i in range(9)]
    limited = dataclasses.replace(settings("random"), limits=LimitSettings(parameters=3.0))
    for how, count in ((settings("random", channels=24), 0), (limited, 0), (settings("random"), 1)):
        groups = {"a": [run("a", rewards, settings())], "b": [run("b", rewards, how)]}
        assert len(comparison.comparisons(groups)) == count


def test_what_strategies_find_with_the_same_budget() -> None:
    rising = [0.1 * i for i in range(1, 10)]
    groups = {
        "random search": [run("r1", [0.5, 0.1] * 6, settings("random", seed=1)), run("r0", rising, settings("random"))],
        "PPO": [run("p0", [0.2, 0.7, 0.9, 0.3] + [0.9] * 6, settings()), run("p2", [0.4] * 9, settings(seed=2))],
        "evolution": [run("e0", [0.3], settings("evolution", channels=24))],
    }
    ppo, uniform = efficiencies(groups)
    assert (ppo.strategy, ppo.seeds, ppo.candidates) == ("PPO", (0, 2), 9)
    assert ppo.best == (0.9, 0.4)
    assert ppo.leaders == pytest.approx(((0.2 + 0.7 + 0.9 + 0.3 + 5 * 0.9) / 9, 0.4))
    assert ppo.until == (3, None), "random search has no run of seed 2"
    assert ppo.courses[0][:5] == (0.2, 0.7, 0.9, 0.9, 0.9)
    assert (uniform.strategy, uniform.seeds, uniform.until) == ("random search", (0, 1), (9, 1))
    assert uniform.best == pytest.approx((0.9, 0.5))


def test_a_run_without_rewards_is_left_out_of_the_strategies() -> None:
    failed = SearchRun("f", settings(seed=1), tuple(record(i, None) for i in range(3)))
    late = SearchRun("p", settings(), tuple(record(i, None if i < 2 else 0.6) for i in range(4)))
    groups = {"random search": [run("r", [0.7] * 3, settings("random"))], "PPO": [failed, late]}
    _, ppo = efficiencies(groups)
    assert (ppo.seeds, ppo.candidates, ppo.until, ppo.courses) == ((0,), 3, (None,), ((None, None, 0.6),))
    assert efficiencies({"PPO": [late]}) == [], "there is nothing to compare with"


def test_arms_of_the_ablation() -> None:
    runs = [
        run("all", [0.4], settings("random", teacher="t.onnx")),
        run("no teacher is no distillation", [0.3], settings("random")),
        run("polyak", [0.2], settings("random", auxiliary=False)),
        run("bare", [0.1], settings("random", polyak=False, auxiliary=False)),
        run("learning", [0.9], settings("ppo", polyak=False, auxiliary=False)),
    ]
    arms = statistics.ablation(runs)
    assert {arm: [r.name for r in found] for arm, found in arms.items()} == {
        "baseline": ["bare"],
        "Polyak": ["polyak"],
        "Polyak + AUX": ["no teacher is no distillation"],
        "Polyak + AUX + KD": ["all"],
    }
    assert list(arms) == ["baseline", "Polyak", "Polyak + AUX", "Polyak + AUX + KD"]


def test_an_ablation_pools_runs_of_equal_settings_only() -> None:
    runs = [
        run("other data", [0.9], dataclasses.replace(settings("random"), data="camvid")),
        run("other channels", [0.9], settings("random", channels=24)),
        run("a", [0.3], settings("random")),
        run("b", [0.3], settings("random", seed=1)),
        run("bare", [0.1], settings("random", polyak=False, auxiliary=False)),
        run("t", [0.3], settings("random", teacher="t.onnx")),
        run("u", [0.3], settings("random", teacher="u.onnx")),
    ]
    assert {arm: [r.name for r in found] for arm, found in statistics.ablation(runs).items()} == {
        "baseline": ["bare"],
        "Polyak + AUX": ["a", "b"],
        "Polyak + AUX + KD": ["t"],
        "Polyak + AUX + KD (u.onnx)": ["u"],
    }
    values = summarise(runs)["ablation"]["stage1"]["Polyak + AUX"]
    assert (values["runs"], values["count"]) == (2, 2)


def test_final_scores_find_networks_in_any_form() -> None:
    arch = ZOO["arch0"]
    (first, *pairs), cell = arch.connections, arch.cell
    assert Genotype((first, pairs[0][::-1], pairs[1]), cell) != arch
    known = Record(Candidate(0, arch, -1.0, 0), "done", reward=0.6)
    swapped = Genotype((first, pairs[0][::-1], pairs[1]), cell)
    found = final_scores([known], {"mine": (swapped, 0.75), "unknown": (ZOO["arch1"], 0.7)})
    assert found == [FinalScore("mine", 0.6, 0.75)]


def test_a_network_that_was_trained_twice_is_one_point() -> None:
    known = Record(Candidate(0, ZOO["arch0"], -1.0, 0), "done", reward=0.6)
    found = final_scores([known], {"first": (ZOO["arch0"], 0.5), "second": (ZOO["arch0"], 0.7)})
    assert found == [FinalScore("first", 0.6, pytest.approx(0.6))]


def test_spearman() -> None:
    up = [i**3 for i in range(5)]
    assert spearman(range(5), up) == pytest.approx((1, 0), abs=1e-9)
    result = spearman(range(5), [*up[:3], 64, 27])  # one exchange of neighbours among 5: 1 - 6 * 2 / (5 * 24)
    assert result is not None
    assert result[0] == pytest.approx(0.9)
    assert spearman([0, 1], up[:2]) is None
    assert spearman([0.5] * 5, up) is None


def test_shares_of_operations_and_connections() -> None:
    arch0 = Record(Candidate(0, ZOO["arch0"], -1.0, 0), "done", reward=0.6)
    operations = statistics.operation_shares([arch0])
    assert sum(operations.values()) == pytest.approx(1)
    # arch0's seven operations are 8, 5, 2, 8, 8, 1, 4.
    assert operations["sep5x5 rate 6"] == pytest.approx(3 / 7)
    assert operations["skip"] == 0
    shares = statistics.connection_shares([arch0])
    assert shares == [[0, 0, 0, 1, None, None], [0, 0, 0.5, 0.5, 0, None], [0.5, 0, 0, 0.5, 0, 0]]
    assert statistics.connection_shares([])[2] == [0] * 6


def test_networks_are_ranked_and_each_listed_once() -> None:
    """Of two evaluations of one network the better one counts, within a run and over runs."""
    again = dataclasses.replace(record(2, 0.6), candidate=dataclasses.replace(record(2).candidate, number=4))
    records = (record(0, 0.9, status="stopped"), record(1, 0.4), record(2, 0.5), record(3, None), again)
    one = SearchRun("one", settings(), records)
    assert [r.candidate.number for r in one.networks] == [4, 1, 0]
    two = run("two", [-0.9, 0.45], settings(seed=1))
    assert [(r.name, entry.reward) for r, entry in ranked([one, two])] == [("one", 0.6), ("two", 0.45), ("two", -0.9)]


def test_the_best_are_taken_from_each_run() -> None:
    runs = [run("low", [0.01 * i for i in range(20)], settings()), run("high", [0.9] * 10, settings(seed=1))]
    assert [r.reward for r in statistics.best_share(runs)] == [pytest.approx(0.19), pytest.approx(0.18), 0.9]


def test_random_search_under_other_settings_is_no_contender() -> None:
    runs = [
        run("rl", [0.1], settings()),
        run("random", [0.1], settings("random")),
        run("bare", [0.1], settings("random", polyak=False)),
    ]
    assert [r.name for group in statistics.contenders(runs).values() for r in group] == ["rl", "random"]
    assert len(statistics.contenders(runs[1:])) == 2


def test_an_interruption_is_no_work() -> None:
    seconds = {"stage1": 30.0}
    times = [1000.0, 1036.0, 9036.0, 9072.0]  # 36 s a candidate, and the machine was off before the third
    records = [record(i, 0.1 * i, seconds=seconds, finished=t) for i, t in enumerate(times)]
    interrupted = SearchRun("run", settings(), tuple(records))
    hours = [moment.hours * 3600 for moment in interrupted.timeline]
    assert hours == pytest.approx([30, 66, 66 + 90, 66 + 90 + 36])
    for each, per_hour in ((interrupted, 4 * 3600 / 192), (SearchRun("empty", settings(), ()), None)):
        assert summarise([each])["runs"][0]["per_hour"] == pytest.approx(per_hour)


def test_timeline_follows_best_and_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "WINDOW", 2)
    records = [record(i, reward) for i, reward in enumerate([None, -0.4, -0.6, -0.2])]
    moments = SearchRun("run", settings(), tuple(records)).timeline
    assert [m.best for m in moments] == [None, -0.4, -0.4, -0.2]
    assert [m.mean for m in moments] == [None, -0.4, pytest.approx(-0.5), pytest.approx(-0.4)]


def test_a_written_history(tmp_path: Path) -> None:
    (read,) = statistics.read_runs([write_run(tmp_path / "run", settings(), 60)])
    assert read.name == "run"
    assert read.count("failed") == 3
    assert read.count("refused") == 2  # 11 and 42
    assert sum(read.count(status) for status in ("done", "stopped", "reused")) == 55
    assert len(read.rewards("stage1")) == read.count("done") + read.count("stopped")
    assert statistics.seconds_by_stage(read.records)["stage1"] > 60 * 0.8 * 20
    assert len(read.networks) == read.count("done") + read.count("stopped")


def test_runs_have_names_of_their_own(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name / "run", settings(), 1) for name in "ab"]
    assert [read.name for read in statistics.read_runs(folders)] == ["a/run", "b/run"]
    with pytest.raises(FastnasError, match="named twice"):
        statistics.read_runs([folders[0], tmp_path / "a" / ".." / "a" / "run"])
    with pytest.raises(FastnasError, match="not a run folder"):
        statistics.read_runs([tmp_path])
