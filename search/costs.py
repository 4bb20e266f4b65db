"""The costs of an architecture: limits on them, their weight in the reward, and the Pareto front of reward and cost.

Costs are those of the network that would be deployed, as `fastnas train` makes it by default (64 channels, separable
operations repeated twice), not of the smaller one that the search trains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fastnas.models.counts import count
from fastnas.models.genotype import Genotype
from fastnas.models.spec import ModelSpec, build_on_meta
from fastnas.search.history import Record
from fastnas.search.latency import latency
from fastnas.search.settings import LimitSettings, SearchSettings
from fastnas.tasks import Task

Costs = dict[str, float]


UNITS = {"parameters": ("parameters (M)", 1e6), "madds": ("multiply-adds (G)", 1e9), "latency": ("latency (ms)", 1.0)}
"""Every cost, named as its limit in `LimitSettings`: label and size of the unit it is printed in."""


def costs(genotype: Genotype, task: Task, encoder: str, limits: LimitSettings, cache: Path) -> Costs:
    """The costs of a candidate once deployed; latency is measured only where a limit or the reward needs it.

    Args:
        genotype: in canonical form, so that equal networks share one measurement.
        task: what the network predicts.
        encoder: by name.
        limits: resolution and, for the latency, where it is measured.
        cache: folder that keeps measured latencies.

    Returns:
        `parameters`; `madds`, multiply-adds of one image; `latency` in milliseconds.

    Raises:
        CandidateFailed: the latency of this candidate cannot be measured.
        FastnasError: no latency can be measured, of whatever candidate.
    """
    spec = ModelSpec(str(genotype), task, encoder)
    counts = count(build_on_meta(spec), (limits.resolution, limits.resolution))
    found: Costs = {"parameters": float(counts.parameters), "madds": float(counts.multiply_adds)}
    if limits.needs_latency:
        found["latency"] = latency(spec, limits, cache)
    return found


def refusal(found: Costs, limits: LimitSettings) -> str | None:
    """The first limit that is exceeded, as a reason; None if there is none."""
    for name, (label, unit) in UNITS.items():
        bound = getattr(limits, name)
        if bound is not None and name in found and found[name] > bound * unit:
            return f"{label}: {found[name] / unit:.2f}, over the limit of {bound:g}"
    return None


def shortfall(found: Costs, limits: LimitSettings) -> float:
    """What is learned from a refused candidate: limit / cost - 1 of the limit exceeded most; from -1 to 0.

    It is below every reward of a task, and the lower the further a network is over its limit, so that a search whose
    first candidates are all refused learns where the others are.
    """
    bounds = ((name, unit, getattr(limits, name)) for name, (_, unit) in UNITS.items())
    ratios = [bound * unit / found[name] for name, unit, bound in bounds if bound is not None and found.get(name)]
    return min(ratios, default=1.0) - 1


def weighted(reward: float, found: Costs, limits: LimitSettings) -> float:
    """The reward less `cost_weight` * (cost / target - 1) for each target that is exceeded.

    This is the absolute-value form of TuNAS (Bender et al. 2020) for costs above the target; cheaper networks are not
    punished for being cheap. MnasNet's soft form (Tan et al. 2019, Eq. 2), a factor (latency / target)^exponent, is
    there too; it lets costs drift wherever accuracy pays for them.
    """
    for name, unit, target in _targets(limits):
        reward -= limits.cost_weight * max(0.0, found[name] / (target * unit) - 1)
        if name == "latency":
            reward *= (found[name] / target) ** limits.latency_exponent
    return reward


def _targets(limits: LimitSettings) -> list[tuple[str, float, float]]:
    """Name, size of the unit, and value of every target."""
    targets = ((name, UNITS[name][1], getattr(limits, f"target_{name}")) for name in ("madds", "latency"))
    return [(name, unit, target) for name, unit, target in targets if target]


def with_target(settings: SearchSettings) -> SearchSettings:
    """The settings of a search that begins: without a target or a limit of speed, arch0's multiply-adds are the target.

    Raises:
        FastnasError: the dataset is not there, whose task the network has.
    """
    limits = settings.limits
    if any(value is not None for value in (limits.target_latency, limits.target_madds, limits.latency, limits.madds)):
        return settings
    task = settings.open_data().task
    counts = count(build_on_meta(ModelSpec("arch0", task, settings.evaluation.encoder)), (limits.resolution,) * 2)
    return replace(settings, limits=replace(limits, target_madds=round(counts.multiply_adds / 1e9, 3)))


class Point(NamedTuple):
    """An evaluated candidate: a cost, its reward without the weight of its cost, and its record."""

    cost: float
    reward: float
    record: Record


def cost_points(records: Iterable[Record], cost: str) -> list[Point]:
    """The candidates that were evaluated themselves and whose cost is known, in their order."""
    rewards = ((record, record.stage1 if record.stage2 is None else record.stage2) for record in records)
    return [Point(r.scores[cost], reward, r) for r, reward in rewards if reward is not None and cost in r.scores]


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points that no other one beats in both cost and reward, by rising cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.reward)):
        if not front or point.reward > front[-1].reward:
            front.append(point)
    return front
