"""A run folder loses at most the record in flight, whatever kills its process, and belongs to one search at a time."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype
from fastnas.search.best import best_record, read_best
from fastnas.search.history import Candidate, Record, Run, read_records
from fastnas.search.settings import PolicySettings, SearchSettings

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:Detected pickle protocol")

ROOT = Path(__file__).parents[2]
SETTINGS = SearchSettings(candidates=7, policy=PolicySettings(learning_rate=1e-3))

HOLDER = """
import sys, time
from fastnas.search.history import Run
run = Run.resume(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""

# A search of 60 candidates, as a driver does it: append, observe, save.
SEARCH = """
import sys
from fastnas.models.genotype import Genotype
from fastnas.search.history import Candidate, Record, Run
from fastnas.search.settings import PolicySettings
from fastnas.search.strategies.registry import make_strategy

strategy = make_strategy(PolicySettings(batch=4, learning_rate=1e-2), seed=0)
with Run.resume(sys.argv[1]) as run:
    if state := run.load_state():
        strategy.load_state_dict(state)
    for entry in run.records[strategy.observed:]:
        strategy.observe(entry.candidate.genotype.decisions(), entry.candidate.log_prob, entry.reward)
    print("ready", flush=True)
    while len(run.records) < 60:
        decisions, log_prob = next(strategy.draws(len(run.records)))
        candidate = Candidate(len(run.records), Genotype.from_decisions(decisions), log_prob, strategy.version)
        run.append(Record(candidate, "done", reward=decisions[0] / 4))
        strategy.observe(decisions, log_prob, decisions[0] / 4)
        run.save_state(strategy.state_dict())
"""


def record(number: int, **fields: object) -> Record:
    genotype = Genotype.random(random.Random(number))
    values = {"status": "done", "reward": 0.1 * number, "stage1": 1 / 3, "scores": {"miou": 0.5}} | fields
    return Record(Candidate(number, genotype, -1 / (number + 3), number // 2), **values)  # type: ignore[arg-type]


def started(folder: Path, count: int = 0) -> Path:
    with Run.start(folder, SETTINGS) as run:
        for number in range(count):
            run.append(record(number))
    return folder


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    records = [record(0), record(1, status="failed", reward=None, reason="out of memory"), record(2, staleness=3)]
    with Run.start(tmp_path / "new" / "run", SETTINGS) as run:
        for entry in records:
            run.append(entry)
            assert read_records(run.folder) == run.records
        assert len((run.folder / "history.jsonl").read_text().splitlines()) == 3
    assert SearchSettings.load(run.folder) == SETTINGS
    with Run.resume(run.folder) as again:
        assert again.settings == SETTINGS
        assert again.records == records
        again.append(record(3))
    assert read_records(run.folder) == [*records, record(3)]


@pytest.mark.parametrize("torn", [b'{"number": 2, "geno', b"\xff\xfe", b"{}"])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: bytes) -> None:
    folder = started(tmp_path, 2)
    with (folder / "history.jsonl").open("ab") as file:
        file.write(torn)
    assert read_records(folder) == [record(0), record(1)]
    with Run.resume(folder) as run:
        run.append(record(2))
    assert read_records(folder) == [record(0), record(1), record(2)]


def test_damage_that_is_no_torn_line_is_named(tmp_path: Path) -> None:
    folder = started(tmp_path, 2)
    path = folder / "history.jsonl"
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(FastnasError, match=r"history\.jsonl, line 1, is not a candidate"):
        Run.resume(folder)


def test_a_full_disk_leaves_the_history_as_it_was(tmp_path: Path) -> None:
    with Run.start(tmp_path, SETTINGS) as run:
        run.append(record(0))
        size = (tmp_path / "history.jsonl").stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, limits[1]))
        try:
            with pytest.raises(FastnasError, match="cannot use the run folder"):
                run.append(record(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / "history.jsonl").stat().st_size == size
        run.append(record(1))
    assert read_records(tmp_path) == [record(0), record(1)]


def test_a_folder_is_held_by_one_search(tmp_path: Path) -> None:
    folder = started(tmp_path)
    process = python(HOLDER, folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    for take in (Run.resume, lambda path: Run.start(path, SETTINGS)):
        with pytest.raises(FastnasError, match="in use by a live search"):
            take(folder)
    read_records(folder)
    process.kill()
    process.communicate()
    Run.resume(folder).close()


def test_reading_does_not_let_go_of_the_folder(tmp_path: Path) -> None:
    with Run.start(tmp_path, SETTINGS):
        read_records(tmp_path)
        with pytest.raises(FastnasError, match="in use"):
            Run.resume(tmp_path)


def test_a_forked_worker_that_outlives_the_search_does_not_hold_the_folder(tmp_path: Path) -> None:
    run = Run.start(tmp_path, SETTINGS)
    worker = os.fork()
    if worker == 0:
        time.sleep(60)
        os._exit(0)
    try:
        time.sleep(0.2)
        with pytest.raises(FastnasError, match="in use"):
            Run.resume(tmp_path)
        run.close()
        Run.resume(tmp_path).close()
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_a_run_is_not_started_over_another(tmp_path: Path) -> None:
    folder = started(tmp_path, 1)
    with pytest.raises(FastnasError, match="--resume"):
        Run.start(folder, SETTINGS)
    assert read_records(folder) == [record(0)]


def test_a_run_that_failed_before_its_first_candidate_is_started_anew(tmp_path: Path) -> None:
    Run.start(tmp_path, SETTINGS).close()
    with Run.start(tmp_path, replace(SETTINGS, root="found")) as run:
        run.append(record(0))
    assert SearchSettings.load(tmp_path).root == "found"


def test_a_folder_without_a_run_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(FastnasError, match="is not a run folder"):
        Run.resume(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_killed_at_any_moment_it_loses_at_most_the_record_in_flight(tmp_path: Path) -> None:
    folder, rng, kills, behind = started(tmp_path), random.Random(0), 20, 0
    for _ in range(kills):
        run_and_kill(_append_forever, folder, after=rng.uniform(0.02, 0.15))
        promised = int((folder / "promised").read_text() or 0) if (folder / "promised").exists() else 0
        with Run.resume(folder) as run:
            assert [entry.candidate.number for entry in run.records] == list(range(len(run.records)))
            assert promised <= len(run.records) <= promised + 1
            state = run.load_state()
            # Killed between record and state, a process leaves the state one more record behind than it found it.
            last, behind = behind, len(run.records) - (state["count"] if state else 0)
            assert 0 <= behind <= last + 1
            assert state is None or (state["weights"] == state["count"]).all()
    assert len(read_records(folder)) > kills, "the victims did not live long enough to tell anything"


@pytest.mark.slow
def test_a_search_killed_again_and_again_ends_like_one_left_in_peace(tmp_path: Path) -> None:
    peace = python(SEARCH, started(tmp_path / "peace"))
    folder, rng = started(tmp_path / "war"), random.Random(1)
    for _ in range(3):
        victim = python(SEARCH, folder)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.02, 0.15))
        victim.kill()
        victim.communicate()
        assert victim.returncode == -signal.SIGKILL, "the search ended before it was killed"
    last = python(SEARCH, folder)
    for process in (last, peace):
        process.communicate()
        assert process.returncode == 0
    assert len(read_records(folder)) == 60
    assert read_records(folder) == read_records(tmp_path / "peace")


def python(program: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def run_and_kill(work: Callable[[Path], None], folder: Path, after: float) -> int:
    """Run `work` in a process of its own, kill it after so many seconds unless it has ended, return its status."""
    victim = os.fork()  # the packages are loaded already, so that the time is spent in the work
    if victim == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            work(folder)
            status = 0
        finally:
            os._exit(status)
    end = time.monotonic() + after
    while time.monotonic() < end:
        ended, status = os.waitpid(victim, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0, "the search failed by itself"
            return 0
        time.sleep(0.001)
    os.kill(victim, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1])


def _append_forever(folder: Path) -> None:
    """Append records and save states; the file `promised` says how many appends have returned."""
    run = Run.resume(folder)
    promised = os.open(folder / "promised", os.O_RDWR | os.O_CREAT)
    os.pwrite(promised, str(len(run.records)).encode(), 0)
    while True:
        number = len(run.records)
        run.append(record(number, reason="x" * 3000))
        os.pwrite(promised, str(number + 1).encode(), 0)
        run.save_state({"count": number + 1, "weights": torch.full((5000,), float(number + 1))})


def test_a_state_holds_tensors_and_plain_values_only(tmp_path: Path) -> None:
    class Surprise:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "surprise"),))

    with Run.start(tmp_path, SETTINGS) as run:
        assert run.load_state() is None
        run.save_state({"a": torch.arange(3), "b": [1, 0.5, "c", None]})
        state = run.load_state()
        assert state is not None
        assert state["b"] == [1, 0.5, "c", None]
        for content in (pickle.dumps(Surprise()), b"", b"not a state", b"PK\x03\x04"):
            (tmp_path / "controller.pt").write_bytes(content)
            with pytest.raises(FastnasError, match="is not a saved controller") as caught:
                run.load_state()
            assert "\n" not in str(caught.value)
    assert not (tmp_path / "surprise").exists()


@pytest.mark.parametrize("fields", [{"status": "lucky"}, {"reward": None}, {"status": "failed"}])
def test_a_record_that_contradicts_itself_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"status must be|cannot have reward"):
        record(1, **fields)


@pytest.mark.parametrize("fields", [{"reward": float("nan")}, {"stage1": float("inf")}])
def test_a_reward_that_is_not_finite_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        record(1, **fields)


# A line as fastnas 0.1.0 wrote it, in its order.
LINE = (
    '{"number": 3, "genotype": [[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]], '
    '"log_prob": -31.25, "version": 2, "redraws": 1, "status": "done", "reward": 0.5, "stage1": 0.25, '
    '"stage2": 0.5, "rungs": {"1": 0.125}, "staleness": 1, "reused": null, "reason": null, '
    '"scores": {"mean_iou": 0.5}, "seconds": {"stage1": 20.0}, "finished": 1700000.5}'
)


def test_the_format_of_a_line() -> None:
    read = Record.from_json(LINE)
    assert (read.candidate.number, read.candidate.log_prob, read.candidate.version) == (3, -31.25, 2)
    assert read.candidate.genotype == Genotype.parse(json.loads(LINE)["genotype"])
    assert read.to_json() == LINE
    assert read.rungs == {1: 0.125}
    earlier = Record.from_json(LINE.replace('"redraws": 1, ', "").replace('"rungs": {"1": 0.125}, ', ""))
    assert earlier == replace(read, candidate=replace(read.candidate, redraws=0), rungs={})
    for rungs in ('{"one": 0.125}', '{"1": "high"}', '{"1": NaN}', "[0.125]"):
        with pytest.raises((ValueError, FastnasError)):
            Record.from_json(LINE.replace('{"1": 0.125}', rungs))


def test_the_best_candidate(tmp_path: Path) -> None:
    """The highest reward among those that went through all stages, else among those stopped; ties by number."""
    failed = record(0, status="failed", reward=None)
    stopped = [record(1, status="stopped", reward=-0.3), record(2, status="stopped", reward=-0.2)]
    done = [record(4, reward=-0.6), record(3, reward=-0.5), record(5, reward=-0.5)]
    reused = record(6, status="reused", reward=0.9, reused=3)
    assert best_record([]) is None
    assert best_record([failed]) is None
    assert best_record([failed, *stopped, reused]) == stopped[1]
    assert best_record([failed, *stopped, *done, reused]) == done[1]
    folder = started(tmp_path)
    with pytest.raises(FastnasError, match="no candidate yet"):
        read_best(folder)
    with Run.resume(folder) as run:
        for entry in (failed, *stopped, *done):
            run.append(entry)
        assert read_best(folder) == done[1], "also while the search runs"
