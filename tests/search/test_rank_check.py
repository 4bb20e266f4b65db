"""The check of rewards by full trainings: what is drawn, trained and told, and that it can be continued."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from fastnas.cli import main
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import FILE_NAME, save_model
from fastnas.models.spec import build
from fastnas.search.rank_check import trainings
from fastnas.search.rank_check.trainings import drawn, shortened
from fastnas.search.report.rank_check import FOLDER, own_reward, read_check, spearman_with_interval
from fastnas.search.report.statistics import read_runs
from fastnas.tasks.registry import head_for
from fastnas.train.objective import NotFinite
from fastnas.train.recipes import RECIPES
from fastnas.train.settings import RunSettings
from tests.helpers.search_toys import settings, toy_reward, write_run

SMALL = ["--channels", "8", "--sep-repeats", "1", "--encoder-weights", "none", "--workers", "0", "--accelerator", "cpu"]


def check(run: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["rank-check", str(run), *SMALL, *map(str, arguments)])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", settings("random"), 40)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Stands in for training: a score that falls with the toy reward, and what was trained."""
    done: list[tuple[str, int]] = []

    def fake(fabric: Any, folder: Path, how: RunSettings, *_: object, resumed: bool) -> Any:
        spec = how.model
        assert spec.genotype is not None
        metrics = {"mean_iou": 1 - toy_reward(spec.genotype) + how.seed / 1000}
        folder.mkdir()
        save_model(folder / FILE_NAME, build(spec), spec, metrics=metrics)
        done.append((str(spec.genotype), how.seed))
        return SimpleNamespace(head=head_for(spec.task), progress=SimpleNamespace(rows=[metrics]))

    monkeypatch.setattr(trainings, "run_training", fake)
    return done


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnas.search.report.page.write_report", lambda *_: (Path("page.html"), {}))


def test_one_network_of_each_stratum_is_drawn(run: Path) -> None:
    (search,) = read_runs([run])
    ordered = sorted(map(own_reward, search.networks))
    rewards = [own_reward(record) for record in drawn(search.networks, 5, seed=0)]
    strata = np.array_split(ordered, 5)
    assert all(reward in stratum for reward, stratum in zip(rewards, strata, strict=True))
    assert drawn(search.networks, 5, seed=0) == drawn(search.networks[::-1], 5, seed=0)
    assert drawn(search.networks, 5, seed=0) != drawn(search.networks, 5, seed=1)
    assert len(drawn(search.networks, 1000, seed=0)) == len(ordered)


def test_a_recipe_is_shortened_with_its_schedule() -> None:
    short = shortened(RECIPES["mpii"], 0.1)
    assert (short.epochs, short.milestones) == (14, (9, 12))
    assert [phase.epochs for phase in shortened(RECIPES["voc"], 0.01).phases] == [1, 1, 1, 1]
    assert shortened(RECIPES["nyud"], 0.1).horizon == 40


def test_rho_is_scipys_and_its_interval_narrows_with_more_networks() -> None:
    rng = np.random.default_rng(1)

    def pair(count: int) -> tuple[list[float], list[float]]:
        first = rng.normal(size=count)
        return first.tolist(), (first + rng.normal(size=count)).round(1).tolist()

    found = {count: (pair(count), count) for count in (20, 80)}
    widths = []
    for (first, second), count in found.values():
        result = spearman_with_interval(first, second)
        assert result is not None
        rho, (low, high) = result
        assert rho == pytest.approx(stats.spearmanr(first, second).statistic)
        assert low < rho < high
        # Fisher's transformation, with the standard error of Bonett and Wright (2000), is the reference.
        error = 1.96 * np.sqrt((1 + rho**2 / 2) / (count - 3))
        expected = np.tanh(np.arctanh(rho) + error) - np.tanh(np.arctanh(rho) - error)
        assert high - low == pytest.approx(expected, rel=0.25)
        widths.append(high - low)
    assert widths[1] < 0.7 * widths[0]
    assert spearman_with_interval([1.0, 2.0], [1.0, 2.0]) is None
    assert spearman_with_interval([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) is None


def test_what_is_told_is_of_the_trained_networks(run: Path, trained: list[tuple[str, int]]) -> None:
    result = check(run, "--nets", 6, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["score"], told["planned"], told["trained"], told["failed"]) == ("mean_iou", 12, 12, {})
    assert len(set(trained)) == len(trained) == 12
    assert [seed for _, seed in trained] == [0] * 6 + [1] * 6
    rewards = [network["reward"] for network in told["networks"]]
    assert rewards == sorted(rewards, reverse=True)
    means = [np.mean(network["scores"]) for network in told["networks"]]
    rhos = {(each["values"], each["among"]): each for each in told["agreements"]}
    assert rhos["reward and final score", "all"]["rho"] == pytest.approx(stats.spearmanr(rewards, means).statistic)
    assert rhos["reward and final score", "all"]["rho"] < -0.5
    half = rhos["reward and final score", "the upper half"]
    assert (half["networks"], half["rho"]) == (3, pytest.approx(stats.spearmanr(rewards[:3], means[:3]).statistic))
    assert rhos["final scores of two seeds", "all"]["rho"] == pytest.approx(1)
    assert (run / "report" / "rank-check.png").is_file()
    page = (run / "report.html").read_text()
    assert "12 of 12 trainings are done" in page
    assert all(network["genotype"] in page for network in told["networks"])
    assert not (run / FOLDER / trainings.CURRENT).exists()


@pytest.mark.usefixtures("no_page")
def test_the_same_command_continues_and_another_one_is_refused(
    run: Path, trained: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = vars(trainings)["run_training"]

    def broken(*arguments: Any, **options: Any) -> Any:
        if len(trained) == 2:
            raise FastnasError("the disk is full")
        return train(*arguments, **options)

    monkeypatch.setattr(trainings, "run_training", broken)
    first = check(run, "--nets", 3, "--seeds", 1)
    assert (first.exit_code, first.output.splitlines()[-1]) == (1, "Error: the disk is full")
    early = read_check(run)
    assert early is not None
    assert (early.trained, early.planned, early.agreements) == (2, 3, [])
    refused = check(run, "--nets", 3, "--seeds", 1, "--length", 0.5)
    assert (refused.exit_code, "with other settings" in refused.output) == (1, True)
    monkeypatch.setattr(trainings, "run_training", train)
    assert check(run, "--nets", 3, "--seeds", 1).exit_code == 0
    assert len(set(trained)) == len(trained) == 3


@pytest.mark.usefixtures("no_page")
def test_a_training_whose_loss_is_not_finite_is_left_out(
    run: Path, trained: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = vars(trainings)["run_training"]

    def diverging(fabric: Any, folder: Path, how: RunSettings, *others: Any, **options: Any) -> Any:
        result = train(fabric, folder, how, *others, **options)
        if len(trained) == 2:
            raise NotFinite("the loss became nan in epoch 1")
        return result

    monkeypatch.setattr(trainings, "run_training", diverging)
    result = check(run, "--nets", 4, "--seeds", 1, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["trained"], len(told["networks"]), list(told["failed"].values())) == (
        4, 3, ["the loss became nan in epoch 1"],
    )  # fmt: skip


def test_a_run_without_candidates_is_refused(tmp_path: Path) -> None:
    result = check(write_run(tmp_path / "run", settings("random"), 0))
    assert (result.exit_code, "has taken no candidate through stage 1 yet" in result.output) == (1, True)


@pytest.mark.slow
@pytest.mark.usefixtures("no_page")
def test_real_trainings_on_generated_scenes(run: Path) -> None:
    small = ["--set", "crop=64,64", "--set", "batch=4", "--limit", 8, "--val-limit", 4, "--length", 0.2, "--seeds", 1]
    result = check(run, "--nets", 3, *small, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["trained"], len(told["networks"])) == (3, 3)
    assert all(0 < network["scores"][0] < 1 for network in told["networks"])
