"""The loop of a search: what is trained, reused, refused or failed; and that a kill does not change the results."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

from fastnas.cli import main
from fastnas.config import override
from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype
from fastnas.options import NETWORK
from fastnas.search.best import read_best
from fastnas.search.driver import FAILURES, REFUSALS, Job, LocalWorker, Outcome, Search
from fastnas.search.evaluation.encoder_cache import weights_hash
from fastnas.search.evaluation.evaluator import CandidateFailed, Evaluation
from fastnas.search.evaluation.prepare import prepare
from fastnas.search.history import Record, Run, read_records
from fastnas.search.presets import preset
from fastnas.search.progress import TensorBoard, status_line
from fastnas.search.report.page import write_report
from fastnas.search.report.statistics import read_runs
from fastnas.search.report.summary import summarise
from fastnas.search.settings import LimitSettings, PolicySettings, SearchSettings, StopSettings
from fastnas.search.strategies.base import Draw
from tests.helpers.search_toys import toy_reward

ROOT = Path(__file__).parents[2]
SETTINGS = SearchSettings(candidates=12, policy=PolicySettings(batch=4), stop=StopSettings(rule="never"))
OPTIONS = [
    "--preset", "tiny", "--set", "images=24", "--set", "evaluation.channels=4",
    "--set", "evaluation.stage1_crop=32", "--set", "evaluation.stage1_short_side=32", "--set",
    "evaluation.stage2_crop=32", "--set", "evaluation.stage2_short_side=32", "--set", "evaluation.stage1_epochs=1",
]  # fmt: skip


class Toy:
    """An evaluator that reads the reward off the genotype."""

    def __init__(self, reward: Callable[[Genotype], float] = lambda g: sum(g.decisions()) / 200) -> None:
        self.reward, self.evaluated = reward, []

    def evaluate(self, genotype: Genotype, seed: int, goes_on: Any, notify: Any, rungs: Any) -> Evaluation:
        self.evaluated.append(genotype)
        stage1, within = self.reward(genotype), {}
        for epoch in rungs[:-1]:
            within[epoch] = stage1 - 0.1 / epoch
            if not goes_on(within[epoch], epoch):
                return Evaluation(scores={"mean_iou": stage1}, seconds={"stage1": 0.1}, rungs=within)
        stage2 = stage1 + 0.1 if goes_on(stage1, rungs[-1]) else None
        return Evaluation(stage1, stage2, {"mean_iou": stage1}, {"stage1": 0.1}, within)


def search(folder: Path, settings: SearchSettings = SETTINGS, evaluator: Any = None, **options: Any) -> Search:
    run = Run.start(folder, settings)
    return Search(run, options.pop("workers", None) or LocalWorker(evaluator or Toy()), **options)


def propose_in_turn(search: Search, genotypes: list[Genotype]) -> None:
    """Let the strategy propose these, each candidate from where the one before it began."""

    def draws(number: int) -> Iterator[Draw]:
        return (Draw(genotype.decisions(), -1.0) for genotype in genotypes[number:])

    search.strategy.draws = draws  # type: ignore[method-assign]


def twins() -> tuple[Genotype, Genotype, Genotype]:
    """Two genotypes of one network, and another one."""
    first = Genotype.parse("[[[3, 2], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]")
    second = Genotype.parse("[[[2, 3], [2, 3], [0, 3]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]")
    assert first != second
    assert first.canonical() == second.canonical()
    return first, second, Genotype.random(random.Random(0))


def test_it_stops_after_so_many_candidates(tmp_path: Path) -> None:
    driver = search(tmp_path)
    driver.go_on()
    assert [r.candidate.number for r in read_records(tmp_path)] == list(range(12))
    assert driver.progress == 1.0


def test_it_stops_after_the_time(tmp_path: Path) -> None:
    driver = search(tmp_path, dataclasses.replace(SETTINGS, candidates=None, hours=1 / 3600))
    start = time.monotonic()
    driver.go_on()
    assert 0.9 < time.monotonic() - start < 60
    assert len(driver.run.records) >= 1
    assert driver.progress == 1.0


def test_a_known_network_is_drawn_again(tmp_path: Path) -> None:
    """It costs no budget and teaches nothing; the record says how often it happened."""
    toy = Toy()
    driver = search(tmp_path, dataclasses.replace(SETTINGS, candidates=3), toy)
    first, second, other = twins()
    last = Genotype.random(random.Random(1))
    propose_in_turn(driver, [first, second, first, other, last])
    driver.go_on()
    assert toy.evaluated == [first, other, last]
    assert [(r.status, r.candidate.redraws) for r in read_records(tmp_path)] == [("done", 0), ("done", 2), ("done", 2)]
    assert driver.strategy.observed == 3


def test_a_search_without_new_networks_ends(tmp_path: Path) -> None:
    driver = search(tmp_path)
    propose_in_turn(driver, [*twins()[:2], twins()[0]])
    with pytest.raises(FastnasError, match="it has nothing new to propose"):
        driver.go_on()
    assert len(read_records(tmp_path)) == 1


def test_copies_of_earlier_versions_cost_no_budget_and_teach_nothing(tmp_path: Path) -> None:
    driver = search(tmp_path / "new")
    driver.go_on()
    with Run.start(tmp_path / "old", SETTINGS) as run:
        for record in driver.run.records[:4]:
            run.append(record)
            twin = dataclasses.replace(record.candidate, number=100 + record.candidate.number)
            run.append(Record(twin, "reused", reward=record.reward, reused=record.candidate.number))
        Search(run, LocalWorker(Toy())).go_on()
    assert [r for r in plain(tmp_path / "old") if r.status != "reused"] == plain(tmp_path / "new")


class Two:
    """Two places; the job that came last is finished first."""

    capacity, ordered = 2, False

    def __init__(self, evaluator: Toy) -> None:
        self.evaluator, self.jobs, self.most = evaluator, [], 0

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))

    def next(self) -> Outcome:
        return self.jobs.pop().run(self.evaluator)


def test_what_is_being_evaluated_is_not_proposed_either(tmp_path: Path) -> None:
    toy = Toy()
    workers = Two(toy)
    driver = search(tmp_path, dataclasses.replace(SETTINGS, candidates=2), workers=workers)
    first, second, other = twins()
    propose_in_turn(driver, [first, second, other])
    driver.go_on()
    assert workers.most == 2
    assert toy.evaluated == [other, first]


def test_results_out_of_order_record_their_staleness(tmp_path: Path) -> None:
    workers = Two(Toy())
    driver = search(tmp_path, dataclasses.replace(SETTINGS, policy=PolicySettings(batch=1)), workers=workers)
    driver.go_on()
    assert workers.most == 2
    assert max(r.staleness for r in read_records(tmp_path)) > 0


def test_failures_are_recorded_with_their_reason(tmp_path: Path) -> None:
    def reward(genotype: Genotype) -> float:
        if sum(genotype.decisions()) % 2:
            raise CandidateFailed("out of memory")
        return 0.5

    driver = search(tmp_path, evaluator=Toy(reward))
    driver.go_on()
    records = read_records(tmp_path)
    failed = [r for r in records if r.status == "failed"]
    assert 0 < len(failed) < 12
    assert {(r.reason, r.reward) for r in failed} == {("out of memory", None)}


def test_it_gives_up_when_everything_fails(tmp_path: Path) -> None:
    def reward(_: Genotype) -> float:
        raise CandidateFailed("the loss is nan")

    driver = search(tmp_path, evaluator=Toy(reward))
    with pytest.raises(FastnasError, match="10 candidates failed one after the other, the last one: the loss is nan"):
        driver.go_on()
    assert len(read_records(tmp_path)) == 10


def test_a_candidate_whose_latency_cannot_be_measured_is_recorded_as_failed(tmp_path: Path) -> None:
    """The search goes on, and so does a resumed one, which met the candidate before."""

    def costs(genotype: Genotype) -> dict[str, float]:
        if genotype.cell[0] < 5:
            raise CandidateFailed("latency: no engine")
        return {"parameters": 1e6, "latency": 10.0}

    toy = Toy()
    settings = dataclasses.replace(SETTINGS, limits=LimitSettings(latency=20.0))
    driver = search(tmp_path, settings, toy, costs=costs)
    driver.go_on()
    driver.run.close()
    records = read_records(tmp_path)
    failed = [r for r in records if r.status == "failed"]
    assert 0 < len(failed) < len(records) == 12
    assert {r.reason for r in failed} == {"latency: no engine"}
    assert all(g.cell[0] >= 5 for g in toy.evaluated)
    with Run.resume(tmp_path) as run:
        run.extend(20, None)
        Search(run, LocalWorker(toy), costs=costs).go_on()
    assert len(read_records(tmp_path)) == 20


def test_it_gives_up_when_no_latency_can_be_measured(tmp_path: Path) -> None:
    def costs(_: Genotype) -> dict[str, float]:
        raise CandidateFailed("latency: no engine")

    with pytest.raises(
        FastnasError, match="10 candidates failed one after the other, the last one: latency: no engine"
    ):
        search(tmp_path, costs=costs).go_on()
    assert len(read_records(tmp_path)) == FAILURES


def test_a_lost_board_ends_the_search_which_a_resumed_one_continues(tmp_path: Path) -> None:
    """The candidate that was to be measured is proposed again, and the history is that of an undisturbed search."""
    search(tmp_path / "peace", costs=lambda g: {"latency": 1.0}).go_on()
    lost = iter([False, False, True])

    def costs(_: Genotype) -> dict[str, float]:
        if next(lost, False):
            raise FastnasError("the board is lost")
        return {"latency": 1.0}

    driver = search(tmp_path / "war", costs=costs)
    with pytest.raises(FastnasError, match="the board is lost"):
        driver.go_on()
    driver.run.close()
    assert len(read_records(tmp_path / "war")) == 2
    with Run.resume(tmp_path / "war") as run:
        Search(run, LocalWorker(Toy()), costs=costs).go_on()
    assert plain(tmp_path / "war") == plain(tmp_path / "peace")


def test_genotype_and_canonical_form_are_made_once_per_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counter[str]()
    from_decisions, canonical = Genotype.from_decisions, Genotype.canonical

    def counted(name: str, function: Callable[..., Genotype]) -> Callable[..., Genotype]:
        return lambda *arguments: (counts.update([name]), function(*arguments))[1]

    monkeypatch.setattr(Genotype, "from_decisions", counted("genotype", from_decisions))
    monkeypatch.setattr(Genotype, "canonical", counted("canonical", canonical))
    search(tmp_path, costs=lambda genotype: {"parameters": 1.0}).go_on()
    assert counts == {"genotype": 12, "canonical": 12}


def test_numbers_without_a_record_are_proposed_again(tmp_path: Path) -> None:
    """Of several candidates that were being evaluated, some are in the history and some are lost."""
    workers = Two(Toy())
    driver = search(tmp_path, workers=workers)
    driver._propose()
    driver._propose()
    driver._finish(workers.next())
    driver.run.close()
    assert [r.candidate.number for r in read_records(tmp_path)] == [1]
    with Run.resume(tmp_path) as run:
        Search(run, LocalWorker(Toy())).go_on()
    assert [r.candidate.number for r in read_records(tmp_path)] == [1, 0, *range(2, 12)]


def within_a_limit(genotype: Genotype) -> dict[str, float]:
    """Two of eleven networks are within a limit of 2.5 M."""
    return {"parameters": (2.4 + 0.1 * genotype.cell[0]) * 1e6, "madds": 1.0}


LIMITED = dataclasses.replace(SETTINGS, candidates=6, limits=LimitSettings(parameters=2.5))


def test_refused_candidates_are_not_trained_and_cost_no_budget(tmp_path: Path) -> None:
    toy = Toy()
    driver = search(tmp_path, LIMITED, toy, costs=within_a_limit)
    driver.go_on()
    records = read_records(tmp_path)
    refused = [r for r in records if r.status == "refused"]
    assert len(refused) > 6
    assert len(toy.evaluated) == 6 == len(records) - len(refused)
    assert {r.reason for r in refused} >= {"parameters (M): 3.40, over the limit of 2.5"}
    assert all(within_a_limit(g)["parameters"] <= 2.5e6 for g in toy.evaluated)
    assert driver.progress == 1.0


def test_refused_candidates_teach_what_is_within_the_limits(tmp_path: Path) -> None:
    """The share of refused ones falls, from four of five."""
    settings = dataclasses.replace(LIMITED, candidates=40, policy=PolicySettings(learning_rate=3e-3))
    driver = search(tmp_path, settings, Toy(lambda _: 0.5), costs=within_a_limit)
    driver.go_on()
    trained = [i for i, record in enumerate(driver.run.records) if record.status == "done"]
    assert trained[9] > 25
    assert trained[39] - trained[29] < 20


def test_a_search_whose_limits_hardly_any_network_keeps_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnas.search.driver.REFUSALS", 5)
    driver = search(tmp_path, LIMITED, costs=lambda genotype: {"parameters": 9e6})
    with pytest.raises(FastnasError, match="5 candidates in a row were refused, the last one for parameters"):
        driver.go_on()
    assert len(read_records(tmp_path)) == 5
    assert REFUSALS == 1000


def test_the_stop_rule_sees_every_stage_1_reward(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, stop=StopSettings(rule="paper", start=0.0))
    driver = search(tmp_path, settings)
    driver.go_on()
    seen: list[float] = []
    for record in read_records(tmp_path):
        assert record.stage1 is not None
        assert (record.status == "done") == (not seen or record.stage1 > sum(seen) / len(seen))
        seen.append(record.stage1)


class Three:
    """Three places, in the order of submission, as `ProcessWorkers` has them."""

    capacity, ordered = 3, True

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def next(self) -> Outcome:
        return self.jobs.pop(0).run(Toy())  # type: ignore[arg-type]


@pytest.mark.parametrize(("strategy", "rule"), [("ppo", "paper"), ("evolution", "halving"), ("random", "paper")])
def test_what_was_being_evaluated_is_evaluated_again_as_it_was(tmp_path: Path, strategy: Any, rule: Any) -> None:
    """Several at a time, killed at every saving and every writing of a record."""
    policy = PolicySettings(strategy=strategy, population=3, batch=2)
    settings = dataclasses.replace(LIMITED, candidates=8, policy=policy, stop=StopSettings(rule=rule))
    search(tmp_path / "peace", settings, workers=Three(), costs=within_a_limit).go_on()

    class Killed(BaseException):
        pass

    Run.start(tmp_path / "war", settings).close()
    for kill_at in range(8):
        with Run.resume(tmp_path / "war") as run:
            save, append, before = run.save_state, run.append, len(run.records)

            def saved(state: dict[str, Any], save: Any = save, run: Run = run, before: int = before) -> None:
                save(state)
                if len(run.records) > before:
                    raise Killed

            def appended(record: Record, append: Any = append) -> None:
                append(record)
                raise Killed

            name, how = ("save_state", saved) if kill_at % 2 else ("append", appended)
            setattr(run, name, how)
            with pytest.raises(Killed):
                Search(run, Three(), costs=within_a_limit).go_on()
    with Run.resume(tmp_path / "war") as run:
        Search(run, Three(), costs=within_a_limit).go_on()
    assert plain(tmp_path / "war") == plain(tmp_path / "peace")


@pytest.mark.parametrize("rule", ["never", "halving"])
@pytest.mark.parametrize("strategy", ["ppo", "evolution"])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(tmp_path: Path, strategy: Any, rule: Any) -> None:
    """Also where the record was written but the state was not saved."""
    policy = PolicySettings(strategy=strategy, population=3)
    settings = dataclasses.replace(LIMITED, policy=policy, stop=StopSettings(rule=rule))
    search(tmp_path / "peace", settings, costs=within_a_limit).go_on()

    class Killed(BaseException):
        pass

    Run.start(tmp_path / "war", settings).close()
    for kill_at in (1, 2, 5, 6, 9):
        with Run.resume(tmp_path / "war") as run:
            save = run.save_state

            def fatal(state: dict[str, Any], run: Run = run, save: Any = save, kill_at: int = kill_at) -> None:
                if len(run.records) == kill_at:
                    raise Killed
                save(state)

            run.save_state = fatal  # type: ignore[method-assign]
            with pytest.raises(Killed):
                Search(run, LocalWorker(Toy()), costs=within_a_limit).go_on()
    (tmp_path / "war" / "controller.pt").unlink()  # the history alone is enough
    with Run.resume(tmp_path / "war") as run:
        Search(run, LocalWorker(Toy()), costs=within_a_limit).go_on()
    assert plain(tmp_path / "war") == plain(tmp_path / "peace")
    stopped = {"stopped"} if rule == "halving" else set()
    assert {record.status for record in plain(tmp_path / "war")} == {"done", "refused"} | stopped


@pytest.mark.parametrize("strategy", ["ppo", "random", "evolution"])
def test_halving_trains_many_for_an_epoch_and_few_to_the_end(tmp_path: Path, strategy: Any) -> None:
    policy = PolicySettings(strategy=strategy, batch=4)
    settings = dataclasses.replace(SETTINGS, candidates=60, policy=policy, stop=StopSettings(rule="halving"))
    search(tmp_path, settings).go_on()
    records = read_records(tmp_path)
    assert [list(record.rungs) for record in records] == [[1]] * 60
    ended = [record for record in records if record.stage1 is not None]
    assert 20 <= len(ended) < 45
    assert 1 <= sum(record.stage2 is not None for record in ended) < len(ended)
    for record in records:
        last = next(value for value in (record.stage2, record.stage1, record.rungs[1]) if value is not None)
        assert (record.reward, record.status) == (last, "stopped" if record.stage2 is None else "done")
    first, second = summarise(read_runs([tmp_path]))["runs"][0]["rungs"]
    assert first == {"epoch": 1, "reached": 60, "went_on": len(ended)}
    assert (second["epoch"], second["reached"]) == (5, len(ended))
    if strategy == "random":
        page, _ = write_report([tmp_path])
        assert f"and {second['went_on']} went on to stage 2." in page.read_text()


def test_a_new_budget_takes_the_place_of_the_old(tmp_path: Path) -> None:
    policy = PolicySettings(learning_rate=1e-3)
    settings = dataclasses.replace(SETTINGS, candidates=3, hours=1.0, policy=policy)
    Run.start(tmp_path, settings).close()
    with Run.resume(tmp_path) as run:
        run.extend(5, None)
        Search(run, LocalWorker(Toy())).go_on()
    assert len(read_records(tmp_path)) == 5
    assert SearchSettings.load(tmp_path) == dataclasses.replace(settings, candidates=5, hours=None)


def plain(folder: Path) -> list[Record]:
    """The history without its times."""
    return [dataclasses.replace(record, seconds={}, finished=0.0) for record in read_records(folder)]


def test_the_status_line(tmp_path: Path) -> None:
    """Of 12 candidates in the last minute, half of the budget; negative rewards have a best too."""
    settings = dataclasses.replace(SETTINGS, stop=StopSettings(start=0.0))
    driver = search(tmp_path, settings, Toy(lambda genotype: -sum(genotype.decisions()) / 200))
    driver.go_on()
    records = driver.run.records
    done, stopped = ([r for r in records if r.status == status] for status in ("done", "stopped"))
    assert len(done) + len(stopped) == 12
    driver.settings = dataclasses.replace(settings, candidates=24)
    line = status_line(driver, since=time.time() - 60)
    best = max(done, key=lambda record: record.reward or 0)
    assert line.startswith(f"12 of 24 candidates · best {best.reward:.3f} (candidate {best.candidate.number}) · mean")
    assert f" · stopped {len(stopped) / 12:.0%} · " in line
    found = re.search(r"(\d+) per hour · 0:(\d\d):(\d\d) left$", line)
    assert found
    per_hour, minutes, seconds = map(int, found.groups())
    assert per_hour == pytest.approx(720, rel=0.1)
    assert 60 * minutes + seconds == pytest.approx(60, rel=0.1)


def test_the_command_line_takes_the_best_network_of_a_search(tmp_path: Path) -> None:
    """`best@RUN` becomes a genotype where it is read, so that nothing keeps the name of a folder that changes."""
    search(tmp_path).go_on()
    genotype = read_best(tmp_path).candidate.genotype
    assert NETWORK.convert(f"best@{tmp_path}", None, None) == str(genotype)
    assert NETWORK.convert("arch0", None, None) == "arch0"
    shown = CliRunner().invoke(main, ["show", f"best@{tmp_path}", "--json"])
    assert json.loads(shown.stdout)["genotype"] == genotype.to_list()
    for command, name in (("show", "network"), ("export", "network"), ("train", "architecture")):
        found = main.get_command(click.Context(main), command)
        assert found is not None
        assert next(param for param in found.params if param.name == name).type is NETWORK


@pytest.mark.parametrize(
    ("history", "complaint"),
    [(None, "is not a run folder"), ("", "no candidate yet"), ("{}\n", "line 1, is not a candidate")],
)
def test_the_best_network_of_no_search(tmp_path: Path, history: str | None, complaint: str) -> None:
    if history is not None:
        (tmp_path / "history.jsonl").write_text(history)
    result = CliRunner().invoke(main, ["show", f"best@{tmp_path}"])
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_best_network_within_a_limit(tmp_path: Path) -> None:
    folder = tmp_path / "a:1M"  # a folder of that name is not a limit
    costs = {"parameters": 0.0, "latency": 0.0}
    driver = search(folder, costs=lambda g: costs | {"latency": float(sum(g.decisions())), "madds": 2e9})
    driver.go_on()
    by_reward = sorted(driver.run.records, key=lambda r: r.reward or 0)
    middle = by_reward[6]
    assert read_best(str(folder)) == by_reward[-1]
    assert read_best(f"{folder}:{middle.scores['latency']:g}ms").scores["latency"] == middle.scores["latency"]
    assert read_best(f"{folder}:2.5M") == read_best(f"{folder}:2G") == by_reward[-1]
    found = NETWORK.convert(f"best@{folder}:{middle.scores['latency']:g}ms", None, None)
    assert found == str(read_best(f"{folder}:{middle.scores['latency']:g}ms").candidate.genotype)
    with pytest.raises(FastnasError, match=r"no candidate of .*a:1M is within 1\.9 G; the lowest has 2\.00"):
        read_best(f"{folder}:1.9G")
    without = search(tmp_path / "run", dataclasses.replace(SETTINGS, candidates=1))
    without.go_on()
    with pytest.raises(FastnasError, match=r"evaluated no candidate whose latency \(ms\) is known"):
        read_best(f"{tmp_path / 'run'}:12ms")


def test_tensorboard_gets_the_best_reward_of_negative_ones(tmp_path: Path) -> None:
    rewards = iter([-0.5, -0.9, -0.3, -0.7])
    settings = dataclasses.replace(SETTINGS, candidates=4)
    driver = search(tmp_path, settings, Toy(lambda _: next(rewards)))
    board, written = TensorBoard(tmp_path, driver.run.records), list[float]()
    board._writer.close()
    board._writer = type(
        "Writer",
        (),
        {"add_scalar": lambda _, name, value, step: written.append(value) if name == "reward/best" else None},
    )()
    driver.view = board
    driver.go_on()
    assert written == pytest.approx([-0.4, -0.4, -0.2, -0.2])


def test_an_encoder_without_weights_is_that_of_the_seed(tmp_path: Path) -> None:
    """Whatever was sampled before: a resumed search has the encoder of the interrupted one."""
    small = [
        "images=24",
        "evaluation.encoder_weights=none",
        "evaluation.stage1_crop=32",
        "evaluation.stage1_short_side=32",
    ]
    hashes = []
    for seed in (0, 0, 1):
        torch.rand(3)
        hashes.append(weights_hash(prepare(override(preset("tiny"), [*small, f"seed={seed}"]), cache=tmp_path).encoder))
    assert hashes[0] == hashes[1] != hashes[2]


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fastnas", "search", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def rising(folder: Path, candidates: int) -> list[float]:
    """The mean reward of each quarter of a search on a noisy toy reward, which trains every network once."""
    noise = random.Random(0)
    toy = Toy(lambda genotype: toy_reward(genotype) + noise.gauss(0, 0.03))
    driver = search(folder, SearchSettings(candidates=candidates, stop=StopSettings(rule="never")), toy)
    driver.go_on()
    records = read_records(folder)
    assert len({record.candidate.canonical for record in records}) == len(toy.evaluated) == len(records) == candidates
    quarter = candidates // 4
    rewards = [toy_reward(record.candidate.genotype) for record in records]
    return [statistics.mean(rewards[i : i + quarter]) for i in range(0, candidates, quarter)]


@pytest.mark.slow
def test_2000_candidates_are_2000_networks_and_get_better(tmp_path: Path) -> None:
    means = rising(tmp_path, 2000)
    assert means == sorted(means)
    assert means[3] > means[0] + 0.15
    redraws = [record.candidate.redraws for record in read_records(tmp_path)]
    assert sum(map(bool, redraws)) < 0.2 * len(redraws)


def test_a_short_search_gets_better(tmp_path: Path) -> None:
    means = rising(tmp_path, 80)
    assert means[3] > means[0] + 0.05


@pytest.mark.slow
def test_a_real_search_killed_again_and_again_ends_like_one_left_in_peace(tmp_path: Path) -> None:
    folder, cache, rng = tmp_path / "war", ("--cache", tmp_path / "cache"), random.Random(0)
    arguments = (*OPTIONS, "--encoder-weights", "none", "--candidates", 6, "--out", folder, *cache)
    for kill in range(3):
        victim = start("--json", *(("--resume", folder, *cache) if kill else arguments))
        assert victim.stdout is not None
        for line in victim.stdout:
            if json.loads(line)["event"] in ("stage", "candidate"):
                break
        if kill == 1:
            refused = CliRunner().invoke(main, ["search", "--resume", str(folder)])
            assert "in use by a live search" in refused.stderr
            assert refused.exit_code == 1
        time.sleep(rng.uniform(0.0, 0.6))
        victim.kill()
        victim.communicate()
        assert victim.returncode == -signal.SIGKILL, "the search ended before it was killed"
    last = start("--resume", folder, "--json", *cache)
    events = [json.loads(line) for line in last.communicate()[0].splitlines()]
    assert last.returncode == 0
    assert events[-1]["event"] == "end"
    peace = start(*(tmp_path / "peace" if each == folder else each for each in arguments))
    peace.communicate()
    assert len(plain(folder)) == 6
    assert plain(folder) == plain(tmp_path / "peace")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "camvid"], "camvid"),
        (["--time", "soon"], "'soon' is not a time such as 90s"),
        (["--set", "evaluation.colour=1"], "setting evaluation.colour does not exist"),
        (["--set", "colour"], "'colour' is not NAME=VALUE"),
        (["--data", "camvid", "--set", "root=2024"], "CamVid: 2024 is not there"),
        (["--set", "policy.clip=7"], "setting policy.clip must be a number >= 0 and <= 1, not 7"),
        (["--resume", "absent"], "is not a run folder"),
        (["--resume", "absent", "--strategy", "random"], "continues a run as it was begun: leave out --strategy"),
        (["--resume", "absent", "--seed", "0"], "leave out --seed"),
        (["--resume", "absent", "--data", "synthetic"], "leave out --data"),
        (["--time", "0s"], "'0s' is not a time"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    out = [] if "--resume" in arguments else ["--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["search", *arguments, *out, "--cache", str(tmp_path)])
    assert result.exit_code != 0
    assert complaint in result.stderr


@pytest.mark.parametrize(("has", "precision"), [("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("avx2", "fp32")])
def test_candidates_are_trained_in_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has: str, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {has: True})
    common = ["search", "--accelerator", "cpu", "--encoder-weights", str(tmp_path / "absent.pth"), "--out"]
    CliRunner().invoke(main, [*common, str(tmp_path / "own")])
    CliRunner().invoke(main, [*common, str(tmp_path / "asked"), "--precision", "fp32"])
    assert SearchSettings.load(tmp_path / "own").evaluation.precision == precision
    assert SearchSettings.load(tmp_path / "asked").evaluation.precision == "fp32"
