"""A search on a real local Ray: the same results as here, and what happens when processes die."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread

import pytest
import torch

from fastnas.config import override
from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype
from fastnas.search.driver import LocalWorker, Outcome, Search
from fastnas.search.evaluation.evaluator import Evaluation, Evaluator
from fastnas.search.evaluation.prepare import prepare
from fastnas.search.history import Run, read_records
from fastnas.search.presets import preset
from fastnas.search.progress import Views
from fastnas.search.ray_workers import RETRIES, RayWorkers
from fastnas.search.settings import SearchSettings
from tests.helpers.search_toys import toy_job
from tests.helpers.waiting import wait_for

# One Ray for the file: starting it takes seconds.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.filterwarnings("ignore::FutureWarning")]
pytest.importorskip("ray")
SMALL = {"num_cpus": 2, "object_store_memory": 200 << 20}


@dataclasses.dataclass
class Toy(Evaluator):
    """Trains nothing: a candidate takes `pause` seconds, and leaves a note of the process it ran in."""

    folder: Path = Path()
    pause: float = 0.2

    def evaluate(
        self,
        genotype: Genotype,
        seed: int,
        goes_on: Callable[[float, int], bool] = lambda reward, epoch: True,
        notify: Callable[[str], None] = lambda stage: None,
        rungs: Sequence[int] = (),
    ) -> Evaluation:
        (self.folder / f"{time.time_ns()} {os.getpid()} {seed}").touch()
        time.sleep(self.pause)
        value = seed % 1000 / 1000
        goes_on(value, 1)
        return Evaluation(value, None, {}, {"stage1": self.pause})


@pytest.fixture(scope="module")
def settings() -> SearchSettings:
    small = ["images=24", "evaluation.stage1_epochs=1", "evaluation.stage1_crop=64", "evaluation.stage1_short_side=64"]
    small += ["evaluation.stage2_crop=64", "evaluation.stage2_short_side=64", "evaluation.encoder_weights=none"]
    return override(preset("tiny"), [*small, "candidates=12", "policy.batch=2"])


@pytest.fixture(scope="module")
def evaluator(settings: SearchSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums depend on it
    yield prepare(settings, cache=tmp_path_factory.mktemp("cache"))
    torch.set_num_threads(threads)


def toy(evaluator: Evaluator, folder: Path, pause: float = 0.2) -> Toy:
    parts = {field.name: getattr(evaluator, field.name) for field in dataclasses.fields(evaluator)}
    return Toy(**parts, folder=folder, pause=pause)


def notes(folder: Path) -> list[tuple[int, int]]:
    """(process, seed) of every attempt, in order."""
    names = sorted(path.name.split() for path in folder.iterdir())
    return [(int(pid), int(seed)) for _, pid, seed in names]


def test_the_same_results_as_here(evaluator: Evaluator, settings: SearchSettings) -> None:
    jobs = [toy_job(number, settings) for number in range(3)]
    here = LocalWorker(evaluator, Views())
    expected: dict[int, Outcome] = {}
    for each in jobs:
        here.submit(each)
        expected[each.candidate.number] = here.next()
    with RayWorkers(evaluator, Views(), **SMALL) as cluster:
        assert cluster.capacity == 2
        for each in jobs:
            cluster.submit(each)
        found = {outcome.job.candidate.number: outcome for outcome in (cluster.next() for _ in jobs)}
    for number, outcome in found.items():
        assert outcome.evaluation is not None
        assert outcome.evaluation.scores == expected[number].evaluation.scores  # type: ignore[union-attr]
        assert outcome.evaluation.stage2 is not None


def test_a_killed_worker_and_a_killed_candidate(evaluator: Evaluator, settings: SearchSettings, tmp_path: Path) -> None:
    """A worker that is killed once costs nothing; a candidate that kills every worker is recorded as failed."""
    folder = tmp_path / "notes"
    folder.mkdir()
    doomed: list[int] = []

    def kill() -> None:
        wait_for(lambda: len(notes(folder)) >= 4, 300)
        os.kill(notes(folder)[-1][0], signal.SIGKILL)
        before = len(notes(folder))
        wait_for(lambda: len(notes(folder)) >= before + 4, 300)
        doomed.append(notes(folder)[-1][1])
        for attempt in range(1, RETRIES + 2):
            wait_for(lambda: [s for _, s in notes(folder)].count(doomed[0]) == attempt, 300)  # noqa: B023
            os.kill(next(p for p, s in reversed(notes(folder)) if s == doomed[0]), signal.SIGKILL)

    killer = Thread(target=kill)
    with (
        Run.start(tmp_path / "run", settings) as run,
        RayWorkers(toy(evaluator, folder, 0.5), Views(), **SMALL) as cluster,
    ):
        killer.start()
        Search(run, cluster, Views()).go_on()
    killer.join()
    records = read_records(tmp_path / "run")
    assert sorted(record.candidate.number for record in records) == list(range(12))
    (failed,) = [record for record in records if record.status == "failed"]
    assert failed.reason is not None
    assert failed.reason.startswith("its process died 3 times")
    seeds = [seed for _, seed in notes(folder)]
    assert seeds.count(doomed[0]) == RETRIES + 1
    assert len(seeds) == 12 + 1 + RETRIES
    assert all(seeds.count(seed) <= 2 for seed in seeds if seed != doomed[0])
    # Two candidates are out at a time and every second result is a batch: some are learned from late, and say so.
    assert max(record.staleness for record in records) >= 1


def test_an_interrupted_search_goes_on(evaluator: Evaluator, settings: SearchSettings, tmp_path: Path) -> None:
    """The driver dies, its cluster with it; a new one on a new cluster finishes what was out, under its number."""
    folder = tmp_path / "notes"
    folder.mkdir()
    five = dataclasses.replace(settings, candidates=5)
    with Run.start(tmp_path / "run", settings) as run, RayWorkers(toy(evaluator, folder), Views(), **SMALL) as cluster:
        search = Search(run, cluster, Views())
        run.settings = search.settings = five
        search.go_on()
        search.settings = settings
        search._propose()
        search._propose()  # out when the driver ends
    with Run.resume(tmp_path / "run") as run, RayWorkers(toy(evaluator, folder), Views(), **SMALL) as cluster:
        Search(run, cluster, Views()).go_on()
    records = read_records(tmp_path / "run")
    assert sorted(record.candidate.number for record in records) == list(range(12))


def test_an_error_in_an_evaluation_is_not_hidden(
    evaluator: Evaluator, settings: SearchSettings, tmp_path: Path
) -> None:
    broken = dataclasses.replace(toy(evaluator, tmp_path), folder=tmp_path / "absent")
    with RayWorkers(broken, Views(), **SMALL) as cluster:
        cluster.submit(toy_job(0, settings))
        with pytest.raises(FileNotFoundError, match="absent"):
            cluster.next()


def test_what_cannot_be_had_is_said(evaluator: Evaluator) -> None:
    with pytest.raises(FastnasError, match="has no node with 1 CPUs and 1 GPUs"):
        RayWorkers(evaluator, Views(), gpus=1, **SMALL)
    with pytest.raises(FastnasError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        RayWorkers(evaluator, Views(), "127.0.0.1:1")
