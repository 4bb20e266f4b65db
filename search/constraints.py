"""What an architecture costs: limits on it, its weight in the reward, and the Pareto front of accuracy and cost.

Costs are those of the network that would be deployed, as `fastnas train` makes it by default (64 channels, separable
operations repeated twice), not of the smaller one that the search trains.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fastnas.counts import count
from fastnas.errors import MissingPackage
from fastnas.files import atomic_path
from fastnas.genotype import Genotype
from fastnas.models import ModelSpec, blueprint, build
from fastnas.search.history import Record
from fastnas.search.settings import LimitSettings
from fastnas.tasks import Task

WARM_UP, PASSES = 3, 15
"""Passes before and during a measurement, whose median is the latency: steadier than the mean on a busy machine."""

Costs = dict[str, float]


def costs(genotype: Genotype, task: Task, encoder: str, limits: LimitSettings, cache: Path) -> Costs:
    """What a candidate costs once deployed: always counted, which takes a moment; measured only where it is asked for.

    Returns:
        `parameters`; `madds`, multiply-adds of one image; `latency`, milliseconds, if a limit or the reward needs it.
    """
    spec = ModelSpec(str(genotype.canonical()), task, encoder)
    size = (limits.resolution, limits.resolution)
    counts = count(blueprint(spec), size)
    found: Costs = {"parameters": float(counts.parameters), "madds": float(counts.multiply_adds)}
    if limits.latency is not None or limits.target_latency is not None:
        found["latency"] = latency(spec, size, cache)
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


def latency(spec: ModelSpec, size: tuple[int, int], cache: Path) -> float:
    """Milliseconds of one image [1, 3, *size] through the exported network in ONNX Runtime on this machine's CPU.

    Measured once per network, size and machine; `cache` remembers it.

    Raises:
        MissingPackage: ONNX Runtime is not installed.
        FastnasError: the network cannot be exported.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingPackage("onnxruntime", "cpu") from error
    machine = [platform.node(), platform.processor(), str(os.cpu_count()), onnxruntime.__version__]
    key = hashlib.sha256(json.dumps([spec.to_dict(), size, machine], sort_keys=True).encode()).hexdigest()[:24]
    path = cache / "latency" / f"{key}.json"
    if path.is_file():
        return float(json.loads(path.read_text())["milliseconds"])
    milliseconds = _measure(spec, size)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"milliseconds": milliseconds, "architecture": spec.architecture}))
    return milliseconds


def _measure(spec: ModelSpec, size: tuple[int, int]) -> float:
    import onnxruntime

    from fastnas.deploy.artifact import Options, optimised
    from fastnas.deploy.capture import capture
    from fastnas.deploy.onnx_writer import INPUT, to_onnx

    network = build(spec).eval()
    graph, _ = optimised(capture(network), network, Options(size))
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {INPUT: np.zeros((1, 3, *size), np.float32)}
    times = []
    for _ in range(WARM_UP + PASSES):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UP:])


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
