"""Evaluating candidates in several processes of this machine, without Ray.

Two processes of one thread each train more candidates in an hour than one of two threads. Each opens data and encoder
for itself; encoder outputs are memory-mapped from the cache, so that all share one copy. Outcomes come in the order in
which their jobs were submitted, so that what a search finds does not depend on which process was faster.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from fastnas.errors import FastnasError
from fastnas.search.driver import Job, Outcome, View
from fastnas.search.settings import SearchSettings


def usable_cores() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Process:
    """A process, and the job that it evaluates."""

    process: BaseProcess
    connection: Connection
    job: Job | None = None


class ProcessWorkers:
    """Evaluates candidates on the CPU, in `count` processes that share its cores; a context manager.

    Attributes:
        capacity: one more than there are processes, so that none waits for the outcome of an earlier candidate.
        ordered: see `Workers`.

    Args:
        settings: of the search, which is prepared: its encoder outputs are in the cache.
        cache: folder of the encoder outputs.
        count: number of processes.
        view: is told what each candidate begins.
        loaders: data loader processes of stage 2, for each process.
    """

    ordered = True

    def __init__(self, settings: SearchSettings, cache: Path, count: int, view: View, loaders: int = 0) -> None:
        self.capacity = count + 1
        self.view = view
        self._arguments = (settings, cache, max(1, usable_cores() // count), loaders)
        self._submitted: deque[Job] = deque()
        self._waiting: deque[Job] = deque()
        self._outcomes: dict[int, Outcome] = {}
        self._processes = [_Process(*self._start()) for _ in range(count)]

    def submit(self, job: Job) -> None:
        """See `Workers`."""
        self._submitted.append(job)
        self._waiting.append(job)
        self._hand_out()

    def next(self) -> Outcome:
        """The outcome of the oldest job. A candidate whose process died is an outcome without an evaluation.

        Raises:
            FastnasError: the evaluation raised it, and would for any other candidate.
            RuntimeError: the evaluation raised anything else; the text is its traceback.
        """
        job = self._submitted.popleft()
        while job.candidate.number not in self._outcomes:
            busy = {each.connection: each for each in self._processes if each.job is not None}
            for connection in wait(list(busy)):
                self._receive(busy[connection])  # type: ignore[index]
            self._hand_out()
        return self._outcomes.pop(job.candidate.number)

    def _hand_out(self) -> None:
        for each in self._processes:
            if each.job is None and self._waiting:
                if not each.process.is_alive():
                    self._renew(each)
                each.job = self._waiting.popleft()
                with suppress(BrokenPipeError):  # it died meanwhile, which `_receive` meets
                    each.connection.send(each.job)

    def _receive(self, sender: _Process) -> None:
        """Take what a process says: the stage that its candidate begins, its outcome, or an error."""
        job = sender.job
        assert job is not None
        try:
            said = sender.connection.recv()
        except (EOFError, ConnectionResetError):
            code = self._renew(sender)
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            memory = "; there may be too little memory for so many processes" if code == -signal.SIGKILL else ""
            said = Outcome(job, None, f"its process ended {how}{memory}")
        if isinstance(said, Exception):
            raise said
        if isinstance(said, str):
            self.view.stage(job.candidate, said)
            return
        self._outcomes[job.candidate.number] = said
        sender.job = None

    def _renew(self, dead: _Process) -> int:
        """Start another process in the place of one that ended, and return how that one did."""
        dead.process.join()
        dead.connection.close()
        code = dead.process.exitcode or 0
        dead.process, dead.connection = self._start()
        return code

    def _start(self) -> tuple[BaseProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_evaluate_jobs, args=(there, *self._arguments))
        process.start()
        there.close()
        return process, here

    def __enter__(self) -> ProcessWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._processes:
            each.process.terminate()
        for each in self._processes:
            each.process.join()
            each.connection.close()


def _evaluate_jobs(connection: Connection, settings: SearchSettings, cache: Path, threads: int, loaders: int) -> None:
    """Evaluate job after job in this process, until the search's process ends it or has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the search's process, which ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    from fastnas.hardware import keep_freed_memory
    from fastnas.search.evaluation.prepare import prepare

    torch.set_num_threads(threads)
    keep_freed_memory()
    evaluator = None
    while True:
        job: Job = connection.recv()
        try:
            evaluator = evaluator or prepare(settings, cache=cache, workers=loaders)
            answer: Outcome | Exception = job.run(evaluator, connection.send)
        except FastnasError as error:
            answer = FastnasError(str(error))  # its subclasses cannot all be pickled
        except Exception:
            answer = RuntimeError(traceback.format_exc())
        connection.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
