"""The strategies of a search on toy rewards: the real driver and equal budgets, without any training.

    python benchmarks/strategies.py --seeds 12 --candidates 120

Every seed has a landscape of its own: random effects of how often each operation and each input occurs, and of every
pair of neighbouring decisions of the canonical genotype, each half of the variance; rewards have a mean of 0.5 and a
standard deviation of 0.1 over random genotypes, measurements noise of 0.03. What is reported is without the noise.
A landscape says nothing about how good a strategy is on networks: it shows that one learns at all, and how fast.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from fastnas.models.genotype import Genotype
from fastnas.search.driver import LocalWorker, Search
from fastnas.search.evaluation.evaluator import Evaluation
from fastnas.search.history import Run
from fastnas.search.rng import generator
from fastnas.search.settings import PolicySettings, SearchSettings

NOISE = 0.03
SAMPLED = 400


class Landscape:
    """A toy reward of genotypes, and an evaluator that measures it with noise."""

    def __init__(self, seed: int) -> None:
        rng = generator(seed, "landscape", 0)
        self.counts, self.pairs = rng.normal(size=17), rng.normal(size=(19, 11, 11))
        some = [self._terms(Genotype.random(random.Random(i))) for i in range(SAMPLED)]
        self.mean, self.deviation = np.mean(some, axis=0), np.std(some, axis=0)

    def _terms(self, genotype: Genotype) -> tuple[float, float]:
        canonical = genotype.canonical()
        inputs = [index for pair in canonical.connections for index in pair]
        operations = [canonical.cell[0], *(operation for branch in canonical.branches for operation in branch[2:])]
        alone = sum(self.counts[i] for i in inputs) + sum(self.counts[6 + i] for i in operations)
        return alone, sum(self.pairs[step, a, b] for step, (a, b) in enumerate(pairwise(canonical.decisions())))

    def reward(self, genotype: Genotype) -> float:
        standard = (np.array(self._terms(genotype)) - self.mean) / self.deviation
        return 0.5 + 0.1 * float(standard.sum()) / 2**0.5

    def evaluate(
        self, genotype: Genotype, seed: int, goes_on: Any, notify: Callable[[str], None], rungs: Any
    ) -> Evaluation:
        return Evaluation(self.reward(genotype) + float(generator(seed, "noise", 0).normal(0, NOISE)))


def course(strategy: Any, seed: int, candidates: int) -> list[float]:
    """The best noise-free reward after each candidate."""
    landscape, policy = Landscape(seed), PolicySettings(strategy=strategy)
    settings = SearchSettings(candidates=candidates, seed=seed, policy=policy)
    with tempfile.TemporaryDirectory() as folder, Run.start(folder, settings) as run:
        Search(run, LocalWorker(landscape)).go_on()  # type: ignore[arg-type]
        return list(accumulate((landscape.reward(r.candidate.genotype) for r in run.records), max))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--candidates", type=int, default=120)
    parser.add_argument("--strategies", default="random,reinforce,ppo,evolution,predictor")
    given = parser.parse_args()
    uniform = [course("random", seed, given.candidates) for seed in range(given.seeds)]
    goals = [each[-1] for each in uniform]
    print("| strategy | best, mean over seeds (deviation) | seeds that beat random | candidates until random's best |")
    print("|---|---|---|---|")
    for strategy in given.strategies.split(","):
        courses = uniform
        if strategy != "random":
            courses = [course(strategy, seed, given.candidates) for seed in range(given.seeds)]
        best = [each[-1] for each in courses]
        until = [
            next((i for i, value in enumerate(each, start=1) if value >= goal), given.candidates + 1)
            for each, goal in zip(courses, goals, strict=True)
        ]
        middle = statistics.median(until)
        cells = (
            strategy,
            f"{statistics.mean(best):.3f} ({statistics.stdev(best):.3f})",
            f"{sum(b > goal for b, goal in zip(best, goals, strict=True))} of {given.seeds}",
            f"{middle:.0f}" if middle <= given.candidates else f"more than {given.candidates}",
        )
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
