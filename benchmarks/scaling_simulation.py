"""What a search does on many workers: the real driver, policy and run folder on a simulated cluster.

    python benchmarks/scaling_simulation.py runs/search --workers 1,100,1000 --candidates 2000 --mean 350

Only the training of candidates is simulated: its times are sampled from the evaluations that a run folder has recorded,
scaled to a mean of `--mean` seconds; its rewards are a toy function of the genotype that PPO can learn. Time is
virtual: it passes at real speed while the driver works, and is skipped while the driver waits. So the driver's own
speed limits the simulated cluster as it would limit a real one.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import tempfile
import time
from pathlib import Path

import numpy as np

from fastnas.models.genotype import Genotype
from fastnas.search.driver import Job, Outcome, Search
from fastnas.search.evaluation.evaluator import Evaluation
from fastnas.search.history import Run, read_records
from fastnas.search.rng import generator
from fastnas.search.settings import PolicySettings, SearchSettings


@dataclasses.dataclass
class Times:
    """Recorded seconds of the two stages."""

    stage1: list[float]
    stage2: list[float]

    @classmethod
    def read(cls, folder: Path, mean: float | None) -> Times:
        records = [record for record in read_records(folder) if record.seconds]
        stages = [[r.seconds[name] for r in records if name in r.seconds] for name in ("stage1", "stage2")]
        total = sum(map(sum, stages)) / max(1, len(records))
        scale = 1.0 if mean is None else mean / total
        return cls(*([scale * value for value in stage] for stage in stages))


class SimulatedCluster:
    """Workers whose candidates take recorded times on a virtual clock."""

    ordered = False

    def __init__(self, capacity: int, times: Times, seed: int) -> None:
        self.capacity, self.times, self.seed = capacity, times, seed
        self.clock = self.busy = self.driver = 0.0
        self._heap: list[tuple[float, int, Outcome]] = []
        self._since = time.perf_counter()

    def _driver_worked(self) -> None:
        """Move the clock by what the driver has needed since it was last here."""
        worked = time.perf_counter() - self._since
        self.clock += worked
        self.driver += worked

    def submit(self, job: Job) -> None:
        self._driver_worked()
        rng = generator(self.seed, "simulation", job.candidate.number)
        result = Evaluation(toy_reward(job.candidate.genotype) + float(rng.normal(0, 0.03)))
        seconds = float(rng.choice(self.times.stage1))
        if self.times.stage2 and job.rule.continues(result.stage1, job.candidate.number, job.progress):
            result.stage2 = result.stage1 + 0.05
            seconds += float(rng.choice(self.times.stage2))
        result.seconds = {"evaluation": round(seconds, 3)}
        self.busy += seconds
        heapq.heappush(self._heap, (self.clock + seconds, job.candidate.number, Outcome(job, result)))
        self._since = time.perf_counter()

    def next(self) -> Outcome:
        self._driver_worked()
        end, _, outcome = heapq.heappop(self._heap)
        self.clock = max(self.clock, end)
        self._since = time.perf_counter()
        return outcome


def toy_reward(genotype: Genotype) -> float:
    """Deep connections and separable operations pay, from 0.2 to 0.7."""
    deep = sum(index >= 3 for pair in genotype.connections for index in pair) / 6
    operations = [genotype.cell[0], *(operation for branch in genotype.branches for operation in branch[2:])]
    return 0.2 + 0.25 * deep + 0.25 * sum(operation in (2, 3, 7, 8) for operation in operations) / 7


def simulate(workers: int, times: Times, policy: PolicySettings, candidates: int, seed: int) -> str:
    settings = SearchSettings(candidates=candidates, seed=seed, policy=policy)
    with tempfile.TemporaryDirectory() as folder, Run.start(folder, settings) as run:
        cluster = SimulatedCluster(workers, times, seed)
        Search(run, cluster).go_on()
        records = run.records
        size = (Path(folder) / "history.jsonl").stat().st_size
    staleness = [record.staleness for record in records]
    third = [record.stage1 for record in records[candidates * 2 // 3 :] if record.stage1 is not None]
    cells = (
        f"{workers}", f"{policy.batch}", f"{policy.learning_rate:g}", f"{3600 * candidates / cluster.clock:.0f}",
        f"{100 * cluster.busy / (workers * cluster.clock):.0f} %", f"{1000 * cluster.driver / candidates:.0f}",
        f"{np.mean(staleness):.1f}", f"{max(staleness)}", f"{np.mean(third):.3f}", f"{size / candidates:.0f}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder whose evaluation times are sampled")
    parser.add_argument("--workers", default="1,10,100,1000", help="numbers of workers, separated by commas")
    parser.add_argument("--batch", default="8", help="results per update, separated by commas")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the controller")
    parser.add_argument("--candidates", type=int, default=2000, help="budget of each search")
    parser.add_argument("--mean", type=float, help="scale evaluations to a mean of so many seconds")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    given = parser.parse_args()
    times = Times.read(given.run, given.mean)
    print(f"{len(times.stage1)} recorded stages 1 of {np.mean(times.stage1):.1f} s, ", end="")
    print(f"{len(times.stage2)} stages 2 of {np.mean(times.stage2) if times.stage2 else 0:.1f} s (scaled)")
    print(
        "| workers | batch | rate | candidates per hour | workers busy | driver ms | staleness, mean | max | reward |",
        end="",
    )
    print(" bytes |\n|" + "---|" * 10)
    for batch in map(int, given.batch.split(",")):
        for workers in map(int, given.workers.split(",")):
            policy = PolicySettings(batch=batch, learning_rate=given.learning_rate)
            print(simulate(workers, times, policy, given.candidates, given.seed), flush=True)


if __name__ == "__main__":
    main()
