"""The fastest good networks of searches: reward against latency as exported, measured here.

    python benchmarks/search_frontier.py runs/ppo-0 runs/evolution-0 ... --best 60

Of all candidates of the runs, those that no other beats in both reward and multiply-adds come first, then those that
only these beat, and so on, until there are enough. Their latency is measured in turns, in ONNX Runtime at 512x512 with
two threads. Prints them by latency, the Pareto front of reward and latency marked. Rewards are those without a weight
for cost.
"""

from __future__ import annotations

import argparse

from frontier import latency

from fastnas.data import default_task
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import PAPER
from fastnas.search.costs import cost_points, pareto_front
from fastnas.search.history import Record
from fastnas.search.report.rank_check import own_reward
from fastnas.search.report.statistics import read_runs
from fastnas.search.report.summary import ranked


def peeled(records: list[Record], count: int) -> list[Record]:
    """The members of the Pareto front of reward and multiply-adds, of the front of the others, and so on."""
    found: list[Record] = []
    rest = list(records)
    while rest and len(found) < count:
        front = [point.record for point in pareto_front(cost_points(rest, "madds"))]
        found += front
        rest = [record for record in rest if all(record is not member for member in front)]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--best", type=int, default=60, help="about so many are measured")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    networks = ranked(read_runs(given.runs))
    sources = {str(record.candidate.genotype): f"{run.name}, {record.candidate.number}" for run, record in networks}
    chosen = {
        str(record.candidate.genotype): own_reward(record)
        for record in peeled([record for _, record in networks], given.best)
    }
    task = default_task("segmentation")
    named = [*chosen, *PAPER]
    found = latency({name: build(ModelSpec(name, task)).eval() for name in named}, given.rounds)
    best = 0.0
    for name in sorted(named, key=lambda name: found[name][0]):
        milliseconds, work = found[name]
        reward = chosen.get(name, 0.0)  # the paper's three have none
        mark = "*" if reward > best else " "
        best = max(best, reward)
        print(f"{mark} {milliseconds:6.1f} ms {work:6.2f} G  {reward:.4f}  {name}  {sources.get(name, '')}")


if __name__ == "__main__":
    main()
