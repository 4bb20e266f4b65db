"""How a reward weighs cost: PPO on a toy where quality rises with cost, as it does on images.

    python benchmarks/cost_rewards.py --seeds 8 --candidates 160

Quality is that of benchmarks/strategies.py, with half its deviation, and 0.03 more for every doubling of the cost
(on CamVid PPO doubled its networks' cost for 0.03). The cost is a toy of multiply-adds by operation and resolution,
relative to that of arch0, the target. What is reported is of the last quarter of the candidates, without the noise.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

from strategies import NOISE, Landscape

from fastnas.models.genotype import Genotype
from fastnas.models.zoo import ZOO
from fastnas.search.costs import Costs
from fastnas.search.driver import LocalWorker, Search
from fastnas.search.evaluation.evaluator import Evaluation
from fastnas.search.history import Run
from fastnas.search.rng import generator
from fastnas.search.settings import SearchSettings, StopSettings

OPERATIONS = (1.0, 9.0, 1.2, 1.5, 0.1, 9.0, 9.0, 1.2, 1.5, 0.0, 0.0)
RESOLUTIONS = (1.0, 0.25, 0.06, 0.02, 0.5, 0.5)
FORMS: dict[str, Callable[[float, float], float]] = {
    "none": lambda reward, ratio: reward,
    "soft, exponent -0.07": lambda reward, ratio: reward * ratio**-0.07,
    "soft, exponent -0.15": lambda reward, ratio: reward * ratio**-0.15,
    "absolute, 0.1": lambda reward, ratio: reward - 0.1 * abs(ratio - 1),
    "above the target, 0.1": lambda reward, ratio: reward - 0.1 * max(0.0, ratio - 1),
}


def cost(genotype: Genotype) -> float:
    """Toy multiply-adds."""
    operations = [genotype.cell[0], *(operation for branch in genotype.branches for operation in branch[2:])]
    cell = 0.3 + sum(OPERATIONS[operation] for operation in operations)
    return 20 + cell * sum(RESOLUTIONS[index] for pair in genotype.connections for index in pair)


class CostlyLandscape(Landscape):
    """Quality that rises with cost."""

    def quality(self, genotype: Genotype) -> float:
        """Without noise."""
        return 0.25 + self.reward(genotype) / 2 + 0.03 * math.log2(cost(genotype) / cost(ZOO["arch0"]))

    def evaluate(
        self, genotype: Genotype, seed: int, goes_on: Any, notify: Callable[[str], None], rungs: Any
    ) -> Evaluation:
        """Without training."""
        return Evaluation(self.quality(genotype) + float(generator(seed, "noise", 0).normal(0, NOISE)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=160)
    given = parser.parse_args()
    target = cost(ZOO["arch0"])
    print("| reward | median cost / target | over 1.1 | best quality of those below 1.1, mean over seeds (deviation) |")
    print("|---|---|---|---|")
    for name, form in FORMS.items():
        rows = []
        for seed in range(given.seeds):
            landscape = CostlyLandscape(seed)

            def reward(evaluation: Evaluation, found: Costs, form: Callable[[float, float], float] = form) -> float:
                return form(evaluation.reward, found["madds"] / target)

            settings = SearchSettings(candidates=given.candidates, seed=seed, stop=StopSettings(rule="never"))
            with tempfile.TemporaryDirectory() as folder, Run.start(folder, settings) as run:
                worker = LocalWorker(landscape)  # type: ignore[arg-type]
                Search(run, worker, costs=lambda genotype: {"madds": cost(genotype)}, reward=reward).go_on()
                genotypes = [record.candidate.genotype for record in run.records]
            ratios = [cost(genotype) / target for genotype in genotypes]
            last = ratios[-(len(ratios) // 4) :]
            fit = [landscape.quality(g) for g, ratio in zip(genotypes, ratios, strict=True) if ratio <= 1.1]
            rows.append((statistics.median(last), statistics.mean(ratio > 1.1 for ratio in last), max(fit)))
        medians, over, best = zip(*rows, strict=True)
        cells = f"{statistics.mean(medians):.2f} | {statistics.mean(over):.0%}"
        print(f"| {name} | {cells} | {statistics.mean(best):.3f} ({statistics.stdev(best):.3f}) |", flush=True)


if __name__ == "__main__":
    main()
