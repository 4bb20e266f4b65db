"""What an architecture costs: limits on it, its weight in the reward, and the Pareto front of accuracy and cost.

Costs are those of the network that would be deployed, as `fastnas train` makes it by default (64 channels, separable
operations repeated twice), not of the smaller one that the search trains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fastnas.models.counts import count
from fastnas.models.genotype import Genotype
from fastnas.models.spec import ModelSpec, blueprint
from fastnas.search.history import Record
from fastnas.search.latency import latency
from fastnas.search.settings import LimitSettings
from fastnas.tasks import Task

Costs = dict[str, float]


def costs(genotype: Genotype, task: Task, encoder: str, limits: LimitSettings, cache: Path) -> Costs:
    """What a candidate costs once deployed: always counted, which takes a moment; measured only where it is asked for.

    Returns:
        `parameters`; `madds`, multiply-adds of one image; `latency`, milliseconds, if a limit or the reward needs it.
    """
    spec = ModelSpec(str(genotype.canonical()), task, encoder)
    counts = count(blueprint(spec), (limits.resolution, limits.resolution))
    found: Costs = {"parameters": float(counts.parameters), "madds": float(counts.multiply_adds)}
    if limits.latency is not None or limits.target_latency is not None:
        found["latency"] = latency(spec, limits, cache)
    return found


def refusal(found: Costs, limits: LimitSettings) -> str | None:
    """The first limit that is exceeded, in words; None if there is none."""
    bounds = (
        ("parameters", limits.parameters, 1e6, "million parameters"),
        ("madds", limits.madds, 1e9, "G multiply-adds"),
        ("latency", limits.latency, 1.0, "ms"),
    )
    for name, bound, unit, words in bounds:
        if bound is not None and found[name] > bound * unit:
            return f"{found[name] / unit:.2f} {words}, more than {bound:g}"
    return None


def weighted(reward: float, found: Costs, limits: LimitSettings) -> float:
    """The reward times (latency / target)^exponent; the plain reward without a target.

    MnasNet's soft form (Tan et al. 2019, Eq. 2): more accuracy can pay for a little more latency.
    """
    if limits.target_latency is None:
        return reward
    return reward * (found["latency"] / limits.target_latency) ** limits.latency_exponent


def pareto_front(records: Iterable[Record], cost: str = "latency") -> list[Record]:
    """The evaluated candidates than which none is both cheaper and better, by rising cost.

    Accuracy is the plain reward of the last stage that a candidate reached, before any weight.
    """
    known: Sequence[Record] = [r for r in records if cost in r.scores and accuracy(r) is not None]
    front: list[Record] = []
    for record in sorted(known, key=lambda r: (r.scores[cost], -(accuracy(r) or 0.0))):
        if not front or (accuracy(record) or 0.0) > (accuracy(front[-1]) or 0.0):
            front.append(record)
    return front


def accuracy(record: Record) -> float | None:
    """A candidate's reward without the weight of its cost; None where it was not evaluated itself."""
    return record.stage1 if record.stage2 is None else record.stage2
