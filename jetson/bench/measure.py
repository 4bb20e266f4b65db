"""The measurement: warm up, 100 passes with every stage timed, several rounds, and a verdict on its own worth.

The paper's runtime is the mean and standard deviation over 100 forward passes at batch 1 (Table 1); here
it is the stage `compute`. Nothing is clipped, and the raw samples are kept.
"""

import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from fastnas.jetson.bench.sampler import Sampler, summarise_readings
from fastnas.jetson.engine.base import Engine, open_engine
from fastnas.jetson.engine.build import DEFAULT_WORKSPACE_MB
from fastnas.jetson.errors import Unsupported
from fastnas.jetson.inference.decode import decoder_for
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.sidecar import Artifact, Size
from fastnas.jetson.system.machine import Machine

STAGES = ("pre", "copy_in", "compute", "copy_out", "inference", "post", "end_to_end")

WARM_UP_RUNS = 10
WARM_UP_SECONDS = 0.2
WARM_UP_LIMIT = 5.0
STEADY_COV = 0.05
"""The coefficient of variation above which a measurement is suspect."""


class Subject(NamedTuple):
    """What is measured: an artifact at a size (H, W) in a precision."""

    artifact: Artifact
    size: Size
    precision: str


class Settings(NamedTuple):
    """How it is measured.

    Attributes:
        passes: timed passes in all.
        rounds: the passes are spread over this many rounds, each visiting all subjects.
        seconds: if positive, every subject runs for so long in one round instead (thermal behaviour).
        engine: one of `engines.ENGINES`.
        threads: of ONNX Runtime on the CPU; 0 is its own choice.
        workspace_mb: scratch memory that TensorRT may use.
        dla: number of the deep learning accelerator to use, or None.
    """

    passes: int = 100
    rounds: int = 3
    seconds: float = 0.0
    engine: str = "auto"
    threads: int = 0
    workspace_mb: int = DEFAULT_WORKSPACE_MB
    dla: Optional[int] = None


class Row:
    """One subject's measurement, gathered over the rounds."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.samples = {stage: [] for stage in STAGES}  # type: Dict[str, List[float]]
        self.about = {}  # type: Dict[str, Any]
        self.sensors = {"seconds": 0.0, "frames": 0}  # type: Dict[str, Any]
        self.readings = []  # type: List[Dict[str, Any]]
        self.reasons = []  # type: List[str]

    def suspect(self, reason: str) -> None:
        """Note once why the numbers may not be believed."""
        if reason not in self.reasons:
            self.reasons.append(reason)

    def to_dict(self) -> Dict[str, Any]:
        """The row as JSON values: statistics, verdict, and every sample in milliseconds."""
        sidecar = self.subject.artifact.sidecar
        statistics = {stage: summarise(samples) for stage, samples in self.samples.items() if samples}
        return {
            "name": sidecar.name,
            "precision": self.subject.precision,
            "size": list(self.subject.size),
            "trained": sidecar.trained,
            "engine": self.about,
            "ms": statistics,
            "fps": {stage: 1000 / statistics[stage]["mean"] for stage in ("inference", "end_to_end")},
            "sensors": self.sensors,
            "verdict": "suspect" if self.reasons else "valid",
            "reasons": self.reasons,
            "samples": self.samples,
            "readings": self.readings,
        }


def summarise(samples: Sequence[float]) -> Dict[str, float]:
    """Statistics of at least one sample; `cov` is the standard deviation over the mean."""
    values = np.asarray(samples, np.float64)
    p90, p95, p99 = np.percentile(values, [90, 95, 99])
    mean, std = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    found = {
        "count": len(values),
        "min": values.min(),
        "mean": mean,
        "median": np.median(values),
        "p90": p90,
        "p95": p95,
        "p99": p99,
        "max": values.max(),
        "std": std,
        "cov": std / mean if mean > 0 else 0.0,
    }
    return {name: float(value) for name, value in found.items()}


def measure(
    subjects: Sequence[Subject],
    pictures: Sequence[np.ndarray],
    settings: Settings,
    machine: Machine,
    progress: Callable[[str], None] = lambda line: None,
) -> List[Row]:
    """Measure subjects in interleaved rounds, so that a drift of the machine falls on all of them alike.

    Args:
        subjects: what to measure; each is opened anew in every round, since all together may not fit in memory.
        pictures: uint8 [H0, W0, 3], taken in turn.
        settings: how.
        machine: this machine.
        progress: receives lines for people.

    Returns:
        A row for each subject but those that this device cannot run, which are told: an artifact with an INT8 file is
        measured on a TX2 in its other precisions.

    Raises:
        Unsupported: it can run none.
    """
    rows = [Row(subject) for subject in subjects]
    idle, load = _idle_power(machine), _load()
    rounds = 1 if settings.seconds else max(1, min(settings.rounds, settings.passes))
    for number in range(rounds):
        passes = settings.passes // rounds + (number < settings.passes % rounds)
        # Every other round goes backwards: who came first while the machine was cool then comes last.
        for row in rows[:] if number % 2 == 0 else rows[::-1]:
            _, size, precision = row.subject
            name = row.subject.artifact.sidecar.name
            progress("round {}/{}: {} {} {}x{}".format(number + 1, rounds, name, precision, *size))
            try:
                engine = open_engine(
                    row.subject.artifact,
                    size,
                    precision,
                    settings.engine,
                    settings.threads,
                    progress,
                    settings.workspace_mb,
                    settings.dla,
                )
            except Unsupported as error:
                rows.remove(row)
                if not rows:
                    raise
                progress("left out: {} {}: {}".format(name, precision, error))
                continue
            with engine:
                row.about = engine.about
                _measure_once(row, engine, pictures, passes, settings.seconds, machine)
    for row in rows:
        row.sensors.update(summarise_readings(row.readings))
        if load is not None and load > 0.75 * (os.cpu_count() or 1):
            row.suspect("other work was running before (load {:.1f} on {} cores)".format(load, os.cpu_count()))
        _judge(row, settings, machine, idle)
    return rows


def _measure_once(
    row: Row, engine: Engine, pictures: Sequence[np.ndarray], passes: int, seconds: float, machine: Machine
) -> None:
    """Warm up, then add `passes` passes (or `seconds` of them) to the row."""
    sidecar = row.subject.artifact.sidecar
    prepare, decode = Preprocessor(sidecar.input, row.subject.size), decoder_for(sidecar.output)
    prepare(pictures[0], engine.input)
    if not _warm_up(engine):
        row.suspect("times did not settle in {:.0f} s of warm-up".format(WARM_UP_LIMIT))
    if engine.output.dtype.kind == "f" and not np.isfinite(engine.output).all():
        row.suspect("the output holds NaN or infinite values")
    events = machine.sensors.throttle_events()
    clock = time.perf_counter
    with Sampler(machine.sensors) as sampler:
        start, done = clock(), 0
        while (clock() - start < seconds) if seconds else (done < passes):
            picture = pictures[done % len(pictures)]
            begin = clock()
            prepare(picture, engine.input)
            ready = clock()
            output = engine.run()
            ran = clock()
            decode(output)
            end = clock()
            _add(row, engine, (ready - begin) * 1e3, (end - ran) * 1e3, (end - begin) * 1e3)
            done += 1
        elapsed = clock() - start
    before = row.sensors["seconds"]  # readings are placed in the time of the passes, all rounds together
    row.readings += [dict(reading, seconds=before + reading["seconds"]) for reading in sampler.readings]
    row.sensors.update(seconds=before + elapsed, frames=row.sensors["frames"] + done)
    if events is not None and (machine.sensors.throttle_events() or 0) > events:
        row.suspect("the board throttled because of over-current; use a stronger supply or a lower power mode")


def _add(row: Row, engine: Engine, pre: float, post: float, end_to_end: float) -> None:
    stages = engine.stages
    assert stages is not None  # the engine has just run
    for name, value in dict(stages._asdict(), pre=pre, post=post, end_to_end=end_to_end).items():
        if value is not None:
            row.samples[name].append(value)


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


def _judge(row: Row, settings: Settings, machine: Machine, idle: Optional[float]) -> None:
    """Write down every reason to doubt the row, and what its energy is."""
    compute = summarise(row.samples["compute"])
    if compute["count"] < 100:
        row.suspect("{:.0f} passes; the protocol asks for 100".format(compute["count"]))
    if compute["cov"] > STEADY_COV:
        row.suspect("times vary by {:.0%} (more than {:.0%})".format(compute["cov"], STEADY_COV))
    if machine.l4t is not None:
        loose = [name for name, limits in machine.sensors.clocks().items() if not limits["pinned"]]
        if loose:
            row.suspect("clocks are not pinned ({}); use --pin-clocks".format(", ".join(loose)))
    if settings.seconds:
        third = max(1, len(row.samples["compute"]) // 3)
        first, last = (
            float(np.mean(part)) for part in (row.samples["compute"][:third], row.samples["compute"][-third:])
        )
        row.sensors["drift"] = last / first - 1
        if last > first * (1 + STEADY_COV):
            row.suspect("it slowed down by {:.0%} while running: heat".format(last / first - 1))
    highest, lowest = row.sensors.get("gpu_mhz_max"), row.sensors.get("gpu_mhz_min")
    if machine.l4t is not None and highest and lowest and lowest < 0.95 * highest:
        row.suspect("the GPU's clock moved between {:.0f} and {:.0f} MHz".format(lowest, highest))
    power = row.sensors.get("power_w")
    per_frame = row.sensors["seconds"] / max(1, row.sensors["frames"])
    row.sensors["idle_w"] = idle
    row.sensors["energy_mj"] = None if power is None else power * per_frame * 1e3
    row.sensors["energy_above_idle_mj"] = None if power is None or idle is None else (power - idle) * per_frame * 1e3


def _idle_power(machine: Machine, seconds: float = 2.0) -> Optional[float]:
    """The board's watts before the work, or None where there is no power monitor (and then no waiting)."""
    if not machine.sensors.power():
        return None
    with Sampler(machine.sensors) as sampler:
        time.sleep(seconds)
    power = summarise_readings(sampler.readings)["power_w"]
    return None if power is None else float(power)


def _load() -> Optional[float]:
    """Runnable processes over the last minute, or None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None
