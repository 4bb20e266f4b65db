"""Commands in processes that are killed at random times. Each is forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

PRELOAD = [
    "fastnas.deploy.command", "fastnas.deploy.export", "fastnas.search.command", "fastnas.search.driver",
    "fastnas.search.evaluation.prepare", "fastnas.search.progress", "fastnas.search.report.page",
    "fastnas.train.command", "fastnas.train.loop", "fastnas.train.run", "fastnas.train.run_log",
    "fastnas.models.checkpoint", "lightning_fabric", "matplotlib.figure", "onnxruntime", "rich.progress",
    "tests.helpers.killing",
]  # fmt: skip


class Killer:
    """Runs commands, killing them by SIGKILL.

    Attributes:
        kills: so far.
        finished: commands that ended before they would have been killed.
        seconds: that the last command took that was not killed, roughly.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self.kills = self.finished = 0
        self.seconds = 0.0

    def run(self, words: list[str], log: Path, seconds: float = 0.0) -> bool:
        """Whether a command ended by itself, and well; it is killed at a random time within `seconds`, if given."""
        process = self._context.Process(target=_command, args=(words, str(log)))
        process.start()
        start = time.monotonic()
        process.join(self._random.uniform(0.0, seconds) if seconds else 300)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        if process.exitcode == 0:
            self.finished += 1
            self.seconds = max(time.monotonic() - start, self.seconds / 2)  # the machine's load may change
        else:
            assert seconds, "it never ends"
            self.kills += 1
        return process.exitcode == 0


def _command(words: list[str], log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    import torch

    from fastnas.cli import main

    multiprocessing.set_start_method(None, force=True)  # as where nothing was forked
    torch.set_num_threads(1)
    sys.argv = ["fastnas", *words]
    main(words)
