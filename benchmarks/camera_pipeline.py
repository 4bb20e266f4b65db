"""What the camera's pipeline costs: end-to-end throughput with viewers, over that of the networks alone.

    python benchmarks/camera_pipeline.py artifacts/arch2 --source bikes.mp4 --viewers 5
    python benchmarks/camera_pipeline.py artifacts/arch2 --source bikes.mp4 --memory 600

Rounds of the two alternate, so that a machine that gets busy slows both. On one that others use too, look at the second
number: the share of the inference thread's time in which the networks run; the rest is what the pipeline costs it.
`--memory` runs the pipeline once for so many
seconds and says how its memory grew. Viewers run in a process of their own, as browsers do.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastnas.jetson import sidecar
from fastnas.jetson.camera.budget import describe
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
from fastnas.jetson.inference.predictions import Predictions
from fastnas.jetson.inference.predictor import InferenceOptions, Predictor, by_task, input_size, tasks_of
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.options import EngineOptions, parse_size

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


def inference_alone(
    artifacts: dict[str, Any], frame: Any, sizes: dict[str, Any], inference: InferenceOptions, seconds: float
) -> float:
    """Passes in a second of all networks over one frame, one network after the other, and nothing else."""
    engines = [
        open_engine(artifact, sizes[kind], inference.precision or "fp32", inference.engine)
        for kind, artifact in artifacts.items()
    ]
    for engine, (kind, artifact) in zip(engines, artifacts.items(), strict=True):
        Preprocessor(artifact.sidecar.input, sizes[kind])(frame, engine.input)
        engine.run()
    passes, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for engine in engines:
            engine.run()
        passes += 1
    rate = passes / (time.perf_counter() - start)
    for engine in engines:
        engine.close()
    return rate


def memory_mb() -> float:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


class Busy(Statistics):
    """Statistics that also add up for how many milliseconds the networks ran."""

    total = 0.0

    def add_inference(self, predictions: Predictions, milliseconds: float) -> None:
        """See `Statistics.add_inference`."""
        self.total += predictions.milliseconds
        super().add_inference(predictions, milliseconds)


@contextmanager
def camera(
    artifacts: dict[str, Any],
    inference: InferenceOptions,
    source: str,
    viewers: int,
    every: bool = False,
    cameras: int = 1,
) -> Iterator[Busy]:
    """The whole of it: source, networks, overlay, page and viewers; its live statistics."""
    stats, controls = Busy(cameras=cameras), Controls(list(artifacts))
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
        watching = subprocess.Popen([sys.executable, "-c", VIEWERS, str(server.server_port), str(viewers)])
        try:
            while stats.shown < 5:
                time.sleep(0.05)
            yield stats
        finally:
            pipeline.stop()
            pipeline.join()
            watching.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--source", default="test://")
    parser.add_argument("--res", type=parse_size)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16", "int8"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--viewers", type=int, default=5)
    parser.add_argument("--cameras", type=int, default=1, help="of the same source, on one engine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--memory", type=float, help="instead: run for so many seconds and watch memory")
    options = parser.parse_args()
    artifacts = by_task([sidecar.load(path) for path in options.artifacts])
    inference = InferenceOptions(
        options.res, precision=options.precision, engine=EngineOptions(options.engine, options.threads)
    )

    if options.memory:
        with camera(artifacts, inference, options.source, options.viewers) as stats:
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
    alone, whole, shares, budget = [], [], [], ""
    for number in range(options.rounds):
        alone.append(inference_alone(artifacts, frame, sizes, inference, options.seconds))
        with camera(artifacts, inference, options.source, options.viewers, every, options.cameras) as stats:
            before, busy, start = stats.shown, stats.total, time.perf_counter()
            time.sleep(options.seconds)
            elapsed = time.perf_counter() - start
            whole.append((stats.shown - before) / elapsed)
            shares.append((stats.total - busy) / elapsed / 1000)
            budget = describe(stats.snapshot()["budget"])
        print(
            f"round {number + 1}: networks alone {alone[-1]:.1f} FPS, end to end {whole[-1]:.1f} FPS "
            f"({whole[-1] / alone[-1]:.1%}); the networks run {shares[-1]:.1%} of the time",
            flush=True,
        )
    ratios = [one / other for one, other in zip(whole, alone, strict=True)]
    print(
        f"end to end with {options.viewers} viewers: {statistics.median(ratios):.1%} of the networks alone "
        f"(median of {options.rounds}); "
        f"the networks run {statistics.median(shares):.1%} of the time"
    )
    print(f"last round: {budget}")
    if options.cameras > 1:
        print("frames of each camera:", ", ".join(str(each.shown) for each in stats.cameras))


if __name__ == "__main__":
    main()
