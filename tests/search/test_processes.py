"""A search in several processes of this machine: the same results as in one, and what happens when processes end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch

from fastnas.config import override
from fastnas.errors import FastnasError
from fastnas.search.command import _processes
from fastnas.search.driver import LocalWorker, View
from fastnas.search.evaluation.prepare import prepare
from fastnas.search.history import Candidate
from fastnas.search.presets import preset
from fastnas.search.processes import ProcessWorkers, usable_cores
from fastnas.search.settings import LimitSettings
from tests.helpers.search_toys import toy_job
from tests.helpers.waiting import alive, wait_for

SETTINGS = override(
    preset("tiny"),
    [
        "images=24", "evaluation.stage1_epochs=1", "evaluation.channels=4", "evaluation.encoder_weights=none",
        "evaluation.stage1_crop=32", "evaluation.stage1_short_side=32", "evaluation.stage2_crop=32",
        "evaluation.stage2_short_side=32",
    ],
)  # fmt: skip


class Stages(View):
    """Notes the stages that candidates begin."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def stage(self, candidate: Candidate, stage: str) -> None:
        self.seen.append((candidate.number, stage))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    prepare(SETTINGS, cache=folder)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, usable_cores() // 2))  # as in each of two processes: sums depend on it
    yield
    torch.set_num_threads(threads)


def test_results_are_those_of_one_process_in_the_order_of_submission(cache: Path, one_thread: None) -> None:
    here, view = LocalWorker(prepare(SETTINGS, cache=cache)), Stages()
    with ProcessWorkers(SETTINGS, cache, 2, view) as workers:
        assert workers.capacity == 3
        for number in range(3):
            workers.submit(toy_job(number, SETTINGS))
        for number in range(3):
            found = workers.next()
            here.submit(toy_job(number, SETTINGS))
            expected = here.next()
            assert found.job.candidate == expected.job.candidate == toy_job(number, SETTINGS).candidate
            assert found.evaluation is not None
            assert expected.evaluation is not None
            assert found.evaluation.scores == expected.evaluation.scores
            assert found.evaluation.stage2 == expected.evaluation.stage2 is not None
    assert sorted(view.seen) == [(number, f"stage {stage}") for number in range(3) for stage in (1, 2)]


def test_a_process_that_is_killed_costs_its_candidate_alone(cache: Path) -> None:
    with ProcessWorkers(SETTINGS, cache, 2, View()) as workers:
        victim = workers._processes[0].process
        for number in range(3):
            workers.submit(toy_job(number, SETTINGS))
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        outcomes = [workers.next() for _ in range(3)]
        assert [outcome.job.candidate.number for outcome in outcomes] == [0, 1, 2]
        assert [outcome.evaluation is None for outcome in outcomes] == [True, False, False]
        assert outcomes[0].reason is not None
        assert re.fullmatch(r"its process ended by signal 9; there may be too little memory .*", outcomes[0].reason)
        pids = [each.process.pid for each in workers._processes]
    assert victim.pid not in pids
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_a_process_that_dies_while_it_waits_costs_nothing(cache: Path) -> None:
    with ProcessWorkers(SETTINGS, cache, 1, View()) as workers:
        workers.submit(toy_job(0, SETTINGS))
        assert workers.next().evaluation is not None
        workers._processes[0].process.kill()
        workers._processes[0].process.join()
        workers.submit(toy_job(1, SETTINGS))
        assert workers.next().evaluation is not None


def test_an_error_of_every_evaluation_is_raised(tmp_path: Path) -> None:
    absent = override(SETTINGS, ["data=folder", f"root={tmp_path / 'absent'}"])
    with ProcessWorkers(absent, tmp_path, 1, View()) as workers:
        workers.submit(toy_job(0, SETTINGS))
        with pytest.raises(FastnasError, match="absent"):
            workers.next()


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_no_process_outlives_the_search(cache: Path, tmp_path: Path, how: int) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.search.test_processes import SETTINGS\n"
        "from tests.helpers.search_toys import toy_job\n"
        "from fastnas.search.driver import View; from fastnas.search.processes import ProcessWorkers\n"
        "if __name__ == '__main__':\n"
        "    with ProcessWorkers(SETTINGS, Path(sys.argv[1]), 2, View()) as workers:\n"
        "        print(*[each.process.pid for each in workers._processes], flush=True)\n"
        "        workers.submit(toy_job(0, SETTINGS)); workers.next(); print('done', flush=True); sys.stdin.read()\n"
    )
    (tmp_path / "program.py").write_text(program)
    search = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(cache)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert search.stdout is not None
    pids = [int(word) for word in search.stdout.readline().split()]
    assert len(pids) == 2
    assert search.stdout.readline() == "done\n"
    search.send_signal(how)
    search.communicate()
    wait_for(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize(
    ("limits", "cuda", "address", "reason"),
    [
        (LimitSettings(latency=20.0), False, None, "latency of candidates is measured on this machine"),
        (LimitSettings(target_latency=20.0), False, None, "latency of candidates is measured on this machine"),
        (LimitSettings(), True, None, "on a GPU one evaluates at a time"),
        (LimitSettings(), False, "local", "Ray decides"),
    ],
)
def test_where_only_one_can_evaluate(limits: LimitSettings, cuda: bool, address: str | None, reason: str) -> None:
    assert _processes(None, limits, cuda, address) == 1
    assert _processes(1, limits, cuda, address) == 1
    with pytest.raises(click.UsageError, match=f"--processes 2: .*{reason}"):
        _processes(2, limits, cuda, address)


def test_two_on_two_cores() -> None:
    assert _processes(None, LimitSettings(), False, None) == min(2, usable_cores())
    assert _processes(3, LimitSettings(latency=20.0, latency_host="u@board"), False, None) == 3
