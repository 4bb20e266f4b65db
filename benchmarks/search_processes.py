"""Candidates an hour of a search in one process of all cores, and in several that share them, in turns.

    python benchmarks/search_processes.py --preset tiny --candidates 7 --rounds 3

Random architectures on generated scenes, all through both stages. The pace is that between the first and the last
record, so that the start of processes does not count; its time is printed beside.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch

from fastnas.config import override
from fastnas.hardware import keep_freed_memory
from fastnas.search.driver import LocalWorker, Search, View, Workers
from fastnas.search.evaluation.prepare import prepare
from fastnas.search.history import Run
from fastnas.search.presets import preset
from fastnas.search.processes import ProcessWorkers, usable_cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--candidates", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    fixed = ["policy.strategy=random", "stop.rule=never", "evaluation.encoder_weights=none", "limits.target_madds=0"]
    settings = override(preset(given.preset), [*fixed, f"candidates={given.candidates}"])
    torch.set_num_threads(usable_cores())
    keep_freed_memory()
    paces: dict[int, list[float]] = {1: [], given.processes: []}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        evaluator = prepare(settings, cache=cache)
        for number in range(given.rounds):
            for count, found in paces.items():
                with ExitStack() as stack:
                    run = stack.enter_context(Run.start(Path(folder) / f"{number}-{count}", settings))
                    workers: Workers = LocalWorker(evaluator)
                    began = time.time()
                    if count > 1:
                        workers = stack.enter_context(ProcessWorkers(settings, cache, count, View()))
                    Search(run, workers).go_on()
                    first, last = run.records[0].finished, run.records[-1].finished
                found.append(3600 * (given.candidates - 1) / (last - first))
                print(f"{count} processes: {found[-1]:.0f} an hour; the first after {first - began:.1f} s", flush=True)
    one, several = (statistics.median(found) for found in paces.values())
    ratios = sorted(b / a for a, b in zip(*paces.values(), strict=True))
    print(
        f"1: {one:.0f}, {given.processes}: {several:.0f} candidates an hour; ratios {ratios[0]:.2f} to {ratios[-1]:.2f}"
    )


if __name__ == "__main__":
    main()
