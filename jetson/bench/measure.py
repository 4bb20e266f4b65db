"""The measurement: warm-up, 100 timed passes over several rounds, and the reasons why a result is unreliable.

The paper's runtime is the mean and standard deviation over 100 forward passes at batch 1 (Table 1); here
it is the stage `compute`. Nothing is clipped, and the raw samples are kept.
"""

import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from fastnas.jetson.bench.layers import time_layers
from fastnas.jetson.bench.sampler import Sampler, summarise_readings
from fastnas.jetson.checks import SAMPLES, STATISTIC, Fields
from fastnas.jetson.engine.base import Engine, Log
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.errors import Unsupported
from fastnas.jetson.inference.predictor import NetworkPredictor
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.options import ENGINES, MEMORY_KINDS, EngineOptions
from fastnas.jetson.sidecar import Artifact, Size
from fastnas.jetson.system.machine import Machine

STAGES = ("pre", "copy_in", "compute", "enqueue", "copy_out", "inference", "post", "end_to_end")

PASSES = 100
"""Passes of the paper; a result of fewer is flagged."""
WARM_UP_RUNS = 10
WARM_UP_SECONDS = 0.2
WARM_UP_LIMIT = 5.0
STEADY_COV = 0.05
"""The coefficient of variation above which a result is flagged as unreliable."""
LAUNCH_BOUND = 0.9
"""The share of `compute` that `enqueue` has where the GPU waits for the host's launches."""


class Workload(NamedTuple):
    """What is measured: an artifact at a size (H, W) in a precision."""

    artifact: Artifact
    size: Size
    precision: str

    @property
    def label(self) -> str:
        """Name, precision and size in messages."""
        return "{} {} {}x{}".format(self.artifact.sidecar.name, self.precision, *self.size)


class Settings(NamedTuple):
    """How it is measured.

    Attributes:
        passes: timed passes in all.
        rounds: the passes are spread over this many rounds, each visiting all workloads.
        seconds: if positive, every workload runs for so long in one round instead (thermal behaviour).
        engine: which engine, and how it runs.
        layers: whether each layer is timed too, after the rounds.
    """

    passes: int = PASSES
    rounds: int = 3
    seconds: float = 0.0
    engine: EngineOptions = EngineOptions()
    layers: bool = False

    def to_dict(self) -> Dict[str, Any]:
        """The settings as JSON values."""
        return dict(self._asdict(), engine=dict(self.engine._asdict()))

    @classmethod
    def from_dict(cls, values: Dict[str, Any]) -> "Settings":
        """Read `to_dict`'s values.

        Raises:
            JetsonError: they are something else.
        """
        fields = Fields(values, "settings")
        engine = Fields(fields.take("engine", dict), "settings.engine")
        return cls(
            fields.take("passes", int, within=SAMPLES),
            fields.take("rounds", int, within=SAMPLES),
            fields.take("seconds", float, within=STATISTIC),
            EngineOptions(
                engine.take("engine", str, ENGINES),
                engine.take("threads", int),
                engine.take("workspace_mb", int),
                engine.take("dla", int, optional=True),
                engine.take("memory", str, MEMORY_KINDS),
                engine.take("graph", bool),
            ),
            fields.take("layers", bool),
        )


class Result:
    """The measurement of one workload, gathered over the rounds.

    Attributes:
        samples: milliseconds of every pass, by stage.
        about: the engine's name, version and settings.
        sensors: statistics of `readings`, the duration and energy.
        readings: of the sensors, with `seconds` since the first pass.
        reasons: why the numbers are unreliable; empty if they are not.
        layers: what `time_layers` gives, or None.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.samples = {stage: [] for stage in STAGES}  # type: Dict[str, List[float]]
        self.about = {}  # type: Dict[str, Any]
        self.sensors = {"seconds": 0.0, "frames": 0}  # type: Dict[str, Any]
        self.readings = []  # type: List[Dict[str, Any]]
        self.reasons = []  # type: List[str]
        self.layers = None  # type: Optional[Dict[str, Any]]

    def flag(self, reason: str) -> None:
        """Flag the result as unreliable, once for each reason."""
        if reason not in self.reasons:
            self.reasons.append(reason)

    def add(self, engine: Engine, pre: float, post: float, end_to_end: float) -> None:
        """Add one pass: the engine's stages and the milliseconds around them."""
        assert engine.stages is not None  # the engine has just run
        for name, value in dict(engine.stages._asdict(), pre=pre, post=post, end_to_end=end_to_end).items():
            if value is not None:
                self.samples[name].append(value)

    def to_dict(self) -> Dict[str, Any]:
        """The result as JSON values: statistics, every sample in milliseconds, and the reasons of a flag."""
        sidecar = self.workload.artifact.sidecar
        statistics = {stage: summarise(samples) for stage, samples in self.samples.items() if samples}
        return {
            "name": sidecar.name,
            "precision": self.workload.precision,
            "size": list(self.workload.size),
            "trained": sidecar.trained,
            "engine": self.about,
            "bound_by_launches": "enqueue" in statistics
            and statistics["enqueue"]["mean"] >= LAUNCH_BOUND * statistics["compute"]["mean"],
            "ms": statistics,
            "fps": {stage: 1000 / statistics[stage]["mean"] for stage in ("inference", "end_to_end")},
            "sensors": self.sensors,
            "reasons": self.reasons,
            "samples": self.samples,
            "readings": self.readings,
            "layers": self.layers,
        }


def summarise(samples: Sequence[float]) -> Dict[str, float]:
    """Statistics of at least one sample; `cov` is the standard deviation over the mean."""
    values = np.asarray(samples, np.float64)
    found = dict(zip(("min", "median", "p90", "p95", "p99", "max"), np.percentile(values, [0, 50, 90, 95, 99, 100])))
    mean, std = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    found.update(count=len(values), mean=mean, std=std, cov=std / mean if mean > 0 else 0.0)
    return {name: float(value) for name, value in found.items()}


def measure(
    workloads: Sequence[Workload], images: Sequence[np.ndarray], settings: Settings, machine: Machine, log: Log
) -> List[Result]:
    """Measure workloads in interleaved rounds, so that a drift of the machine affects all of them alike.

    Args:
        workloads: each is opened anew in every round, since all together may not fit in memory.
        images: uint8 [H0, W0, 3], taken in turn.
        settings: passes, rounds and the engine.
        machine: this machine.
        log: receives lines about progress.

    Returns:
        A result for each workload but those that this device cannot run, which are logged: an artifact with an INT8
        file is measured on a TX2 in its other precisions.

    Raises:
        Unsupported: it can run none.
    """
    results = [Result(workload) for workload in workloads]
    idle, load = _idle_power(machine), os.getloadavg()[0]  # runnable processes over the last minute
    rounds = 1 if settings.seconds else max(1, min(settings.rounds, settings.passes))
    for number in range(rounds):
        passes = settings.passes // rounds + (number < settings.passes % rounds)
        # Every other round goes backwards: the first, measured while the machine was cool, then comes last.
        for result in results[:] if number % 2 == 0 else results[::-1]:
            workload = result.workload
            log("round {}/{}: {}".format(number + 1, rounds, workload.label))
            try:
                engine = open_engine(workload.artifact, workload.size, workload.precision, settings.engine, log)
            except Unsupported as error:
                results.remove(result)
                if not results:
                    raise
                log("left out: {}: {}".format(workload.label, error))
                continue
            with engine:
                result.about = engine.about
                _measure_once(result, engine, images, passes, settings.seconds, machine, log)
    for result in results:
        result.sensors.update(summarise_readings(result.readings))
        if load > 0.75 * (os.cpu_count() or 1):
            result.flag("other work was running before (load {:.1f} on {} cores)".format(load, os.cpu_count()))
        _check(result, settings, machine)
        _add_energy(result.sensors, idle)
    for result in results if settings.layers else []:
        workload = result.workload
        log("layers: {}".format(workload.label))
        try:
            result.layers = time_layers(*workload, options=settings.engine, image=images[0], log=log)
        except Unsupported as error:
            log("no time per layer: {}: {}".format(workload.label, error))
    return results


def _measure_once(
    result: Result,
    engine: Engine,
    images: Sequence[np.ndarray],
    passes: int,
    seconds: float,
    machine: Machine,
    log: Log,
) -> None:
    """Warm up, then add `passes` passes (or `seconds` of them) to the result; frames are processed as the camera's."""
    artifact, size = result.workload.artifact, result.workload.size
    Preprocessor(artifact.sidecar.input, size)(images[0], engine.input)
    if not all(np.isfinite(array).all() for array in engine.run().values()):  # before the GPU makes class ids of them
        result.flag("an output holds NaN or infinite values")
    network, kinds = NetworkPredictor(artifact, size, engine, False, log), artifact.sidecar.kinds
    network.prepare(images[0])
    if not _warm_up(engine):
        result.flag("times did not settle in {:.0f} s of warm-up".format(WARM_UP_LIMIT))
    events = machine.sensors.throttle_events()
    clock = time.perf_counter
    with Sampler(machine.sensors) as sampler:
        start, done = clock(), 0
        while (clock() - start < seconds) if seconds else (done < passes):
            image = images[done % len(images)]
            begin = clock()
            network.prepare(image)
            ready = clock()
            engine.run()
            ran = clock()
            network.decode(kinds)
            end = clock()
            result.add(engine, (ready - begin) * 1e3, (end - ran) * 1e3, (end - begin) * 1e3)
            done += 1
        elapsed = clock() - start
    before = result.sensors["seconds"]  # readings are placed in the time of the passes, all rounds together
    result.readings += [dict(reading, seconds=before + reading["seconds"]) for reading in sampler.readings]
    result.sensors.update(seconds=before + elapsed, frames=result.sensors["frames"] + done)
    if events is not None and (machine.sensors.throttle_events() or 0) > events:
        result.flag("the board throttled because of over-current; use a stronger supply or a lower power mode")


def _warm_up(engine: Engine) -> bool:
    """Run at least 10 times and 200 ms, until the last 10 vary by less than 5 %; False if they do not in 5 s."""
    times = []  # type: List[float]
    start = time.perf_counter()
    while True:
        engine.run()
        assert engine.stages is not None
        times.append(engine.stages.compute)
        elapsed = time.perf_counter() - start
        if len(times) >= WARM_UP_RUNS and elapsed >= WARM_UP_SECONDS:
            if summarise(times[-WARM_UP_RUNS:])["cov"] < STEADY_COV:
                return True
            if elapsed > WARM_UP_LIMIT:
                return False


def _check(result: Result, settings: Settings, machine: Machine) -> None:
    """Flag the result for too few passes, scattered or growing times, and clocks that are not pinned."""
    samples, sensors = result.samples["compute"], result.sensors
    compute = summarise(samples)
    if len(samples) < PASSES:
        result.flag("{} passes instead of {}".format(len(samples), PASSES))
    if compute["cov"] > STEADY_COV:
        result.flag("times vary by {:.0%} (more than {:.0%})".format(compute["cov"], STEADY_COV))
    if settings.seconds:
        third = max(1, len(samples) // 3)
        sensors["drift"] = float(np.mean(samples[-third:]) / np.mean(samples[:third])) - 1
        if sensors["drift"] > STEADY_COV:
            result.flag("it slowed down by {:.0%} while running: heat".format(sensors["drift"]))
    if machine.l4t is not None:
        loose = [name for name, limits in machine.sensors.clocks().items() if not limits["pinned"]]
        if loose:
            result.flag("clocks are not pinned ({}); use --pin-clocks".format(", ".join(loose)))
        highest, lowest = sensors.get("gpu_mhz_max"), sensors.get("gpu_mhz_min")
        if highest and lowest and lowest < 0.95 * highest:
            result.flag("the GPU's clock moved between {:.0f} and {:.0f} MHz".format(lowest, highest))


def _add_energy(sensors: Dict[str, Any], idle: Optional[float]) -> None:
    """Millijoules per frame, gross and above idle (W), where the machine has a power monitor."""
    power, per_frame = sensors.get("power_w"), sensors["seconds"] / max(1, sensors["frames"])
    sensors["idle_w"] = idle
    sensors["energy_mj"] = None if power is None else power * per_frame * 1e3
    sensors["energy_above_idle_mj"] = None if power is None or idle is None else (power - idle) * per_frame * 1e3


def _idle_power(machine: Machine, seconds: float = 2.0) -> Optional[float]:
    """The board's watts before the work, or None where there is no power monitor (and then no waiting)."""
    if not machine.sensors.power():
        return None
    with Sampler(machine.sensors) as sampler:
        time.sleep(seconds)
    power = summarise_readings(sampler.readings)["power_w"]
    return None if power is None else float(power)
