"""What the camera's pipeline costs: frames a second with viewers, over those of the networks alone; several cameras.

    python benchmarks/camera_pipeline.py people --source bikes.mp4 --viewers 5
    python benchmarks/camera_pipeline.py people --source bikes.mp4 --viewers 5 --cameras 2
    python benchmarks/camera_pipeline.py people --source bikes.mp4 --memory 600

All is open from the start; in each round one after the other runs for `--seconds`, in changing order, while the others
are paused, so that a machine that gets busy slows all of them. What is printed are the medians of the rounds' ratios,
with quartiles: by the clock, and by processor time, which other programs disturb less: that of a pass of the networks
alone over that of the inference thread for a frame. Viewers run in a process of their own, as browsers do. `--memory`
runs the pipeline once for so many seconds and says how its memory grew.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastnas.jetson import shelf
from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.opencv import open_source
from fastnas.jetson.camera.pipeline import Pipeline
from fastnas.jetson.camera.reopen import open_camera
from fastnas.jetson.camera.sources import Mode, parse_address
from fastnas.jetson.camera.stats import Statistics
from fastnas.jetson.camera.web.broadcast import Broadcast
from fastnas.jetson.camera.web.server import Server
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.inference.draw import draw
from fastnas.jetson.inference.predictor import InferenceOptions, Predictor, by_task, input_size, tasks_of
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.options import EngineOptions, parse_size

SETTLE = 0.3
"""Seconds after which a pause, or its end, has passed through the pipeline."""

VIEWERS = """
import re, socket, sys, threading
ages = []
def watch():
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    connection.sendall(b"GET /stream.mjpg HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
    while True:
        data = connection.recv(1 << 20)
        if not data:
            return
        ages.extend(float(age) for age in re.findall(rb"X-Age-Ms: ([0-9.]+)\\r", data))
threads = [threading.Thread(target=watch) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
ages.sort()
at = {number: ages[len(ages) * number // 100] for number in (50, 90, 99) if ages}
print("sent to viewers, ms after capture:", ", ".join(f"p{number} {age:.1f}" for number, age in at.items()))
"""


class Measured(NamedTuple):
    """Of a phase of a round: frames, or passes, a second, and milliseconds of processor time of a thread for each."""

    rate: float
    processor: float


class Alone:
    """All networks over one frame, one after the other in this thread, and nothing else; a context manager."""

    def __init__(
        self, artifacts: dict[str, Any], frame: Any, sizes: dict[str, Any], inference: InferenceOptions
    ) -> None:
        unique = {id(artifact): kind for kind, artifact in reversed(artifacts.items())}
        self._engines = [
            open_engine(artifacts[kind], sizes[kind], inference.precision or "fp32", inference.engine)
            for kind in unique.values()
        ]
        for engine, kind in zip(self._engines, unique.values(), strict=True):
            Preprocessor(artifacts[kind].sidecar.input, sizes[kind])(frame, engine.input)
            engine.run()

    def measure(self, seconds: float) -> Measured:
        """Run for so long."""
        passes, start, processor = 0, time.perf_counter(), time.thread_time()
        while time.perf_counter() - start < seconds:
            for engine in self._engines:
                engine.run()
            passes += 1
        elapsed, used = time.perf_counter() - start, time.thread_time() - processor
        return Measured(passes / elapsed, 1000 * used / passes)

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, *error: object) -> None:
        for engine in reversed(self._engines):
            engine.close()


def memory_mb() -> float:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


class Running:
    """A pipeline that runs, or is paused."""

    def __init__(self, pipeline: Pipeline, controls: Controls, statistics: Statistics) -> None:
        self._controls, self.statistics = controls, statistics
        self._thread = next(thread for thread in pipeline._threads if thread.name == "infer")

    def pause(self, paused: bool) -> None:
        """Pause, or go on; both take a moment."""
        self._controls.apply({"paused": paused})
        time.sleep(SETTLE)

    def measure(self, seconds: float) -> Measured:
        """Go on for so long, and pause again."""
        self.pause(False)
        before, start, processor = self.statistics.shown, time.perf_counter(), self._processor()
        time.sleep(seconds)
        frames, elapsed = self.statistics.shown - before, time.perf_counter() - start
        used = self._processor() - processor
        self.pause(True)
        return Measured(frames / elapsed, 1000 * used / max(frames, 1))

    def _processor(self) -> float:
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))


@contextmanager
def camera(
    artifacts: dict[str, Any],
    inference: InferenceOptions,
    source: str,
    viewers: int,
    every: bool = False,
    cameras: int = 1,
    ages: bool = False,
) -> Iterator[Running]:
    """The whole of it: source, networks, overlay, page and viewers, who say how old images were; pauses spoil that."""
    stats, controls = Statistics(cameras=cameras), Controls(list(artifacts))
    broadcast = Broadcast(max(viewers, 1), lambda each: stats.budget.add("encode", each))
    address = parse_address(source)
    tasks = tasks_of(artifacts)
    pipeline = Pipeline(
        [open_camera(address, Mode(), not address.live, own) for own in stats.cameras],
        lambda size: Predictor(artifacts, size, inference, lambda line: None),
        lambda frame, p, alpha: draw(frame, tasks, p.segmentation, p.depth, p.pose, p.box, alpha),
        [broadcast],
        controls,
        stats,
        every,
    )
    with Server("127.0.0.1", 0, "benchmark", broadcast, controls, stats) as server:
        pipeline.start()
        command = [sys.executable, "-c", VIEWERS, str(server.server_port), str(viewers)]
        watching = subprocess.Popen(command, stdout=None if ages else subprocess.DEVNULL)
        try:
            while stats.shown < 5:
                time.sleep(0.05)
            yield Running(pipeline, controls, stats)
        finally:
            pipeline.stop()
            pipeline.join()
            watching.wait(10)


def spread(values: list[float]) -> str:
    """Median and quartiles of shares."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.1%} (quartiles {low:.1%} to {high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+", help="names or folders")
    parser.add_argument("--source", default="test://")
    parser.add_argument("--res", type=parse_size)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16", "int8"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--viewers", type=int, default=5)
    parser.add_argument("--cameras", type=int, default=1, help="so many of the same source on one engine, too")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each phase of a round")
    parser.add_argument("--memory", type=float, help="instead: run for so many seconds and watch memory")
    options = parser.parse_args()
    artifacts = by_task([shelf.open_artifact(name) for name in options.artifacts])
    inference = InferenceOptions(
        options.res, precision=options.precision, engine=EngineOptions(options.engine, options.threads)
    )

    if options.memory:
        with camera(artifacts, inference, options.source, options.viewers, ages=True) as running:
            stats = running.statistics
            start, first = time.monotonic(), 0.0
            while time.monotonic() - start < options.memory:
                time.sleep(min(options.memory / 20, 30))
                first = first or memory_mb()
                seconds = time.monotonic() - start
                print(f"{seconds:5.0f} s: {memory_mb():.1f} MB, {stats.shown} frames", flush=True)
            latency, passes = (stats.snapshot()[name] for name in ("latency_ms", "inference_ms"))
            print(f"latency {latency}, inference {passes}, camera {stats.snapshot()['camera_fps']} FPS")
            print(f"grew by {memory_mb() - first:+.1f} MB over {options.memory:.0f} s")
        return

    probe = open_source(parse_address(options.source), Mode())
    frame = probe.read()
    probe.close()
    assert frame is not None
    shape = (frame.shape[0], frame.shape[1])
    sizes = {kind: input_size(each, options.res, shape) for kind, each in artifacts.items()}
    every = not parse_address(options.source).live  # a file faster than its own speed: only the networks limit it
    ways: dict[str, Alone | Running] = {}
    with ExitStack() as stack:
        ways["alone"] = stack.enter_context(Alone(artifacts, frame, sizes, inference))
        for count in sorted({1, options.cameras}):
            running = camera(artifacts, inference, options.source, options.viewers, every, count)
            ways[f"{count} camera{'s' if count > 1 else ''}"] = opened = stack.enter_context(running)
            opened.pause(True)
        rounds: list[dict[str, Measured]] = []
        for number in range(options.rounds):
            order = list(ways)[:: -1 if number % 2 else 1]
            rounds.append({name: ways[name].measure(options.seconds) for name in order})
            rates = ", ".join(f"{name} {rounds[-1][name].rate:.1f}" for name in ways)
            print(f"round {number + 1}, frames a second: {rates}", flush=True)
    for name in list(ways)[1:]:
        by_clock = spread([each[name].rate / each["alone"].rate for each in rounds])
        by_processor = spread([each["alone"].processor / each[name].processor for each in rounds])
        print(f"{name}, {options.viewers} viewers, of the networks alone: by the clock {by_clock}")
        print(f"    by processor time of the inference thread {by_processor}")
    if options.cameras > 1:
        together = spread([each[name].rate / each["1 camera"].rate for each in rounds])
        print(f"{name} over 1 camera, all frames: {together}")
        each_shown = ", ".join(str(own.shown) for own in opened.statistics.cameras)
        print(f"frames of each camera: {each_shown}")


if __name__ == "__main__":
    main()
