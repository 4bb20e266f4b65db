"""Latency of the float32 and the INT8 files of fastnas export on a CPU, in ONNX Runtime.

    python benchmarks/int8_latency.py                         # arch0-2 and three baselines at 512x512
    python benchmarks/int8_latency.py arch0 --threads 2 --json

The weights are random and the ranges from generated images: neither changes the time. The two take turns, as in
`export_latency.py`; the speed-up is a ratio of medians of one run. The symmetric file is TensorRT's: it is slow here,
which is why there are two.
"""

from __future__ import annotations

import json
import statistics
import time
from functools import partial

import click
import numpy as np
import onnx
from export_latency import NETWORKS, machine, measure

from fastnas.data import default_task
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import OUTPUT
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.onnx.writer import INPUT, to_onnx
from fastnas.deploy.parity import open_session, sample_image
from fastnas.deploy.precision import int8
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build


def files(network: Network) -> dict[str, onnx.ModelProto]:
    """The float32 file and both INT8 files."""
    model = to_onnx(optimise(capture(network))[0])
    images = [sample_image(network, (256, 256), seed).numpy() for seed in range(4)]
    ranges = int8.calibrate(model, images)
    made = {"int8": int8.quantise(model, ranges, int8.CPU), "symmetric": int8.quantise(model, ranges, int8.TENSORRT)}
    return {"fp32": model, **made}


@click.command()
@click.argument("networks", nargs=-1)
@click.option("--size", default=512, show_default=True, help="Sides of the image.")
@click.option("--threads", default=2, show_default=True, help="Of ONNX Runtime.")
@click.option("--rounds", default=15, show_default=True, help="Measured rounds.")
@click.option("--cpu-time", is_flag=True, help="Processor time of one thread instead of the clock's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with the raw samples.")
def main(networks: tuple[str, ...], size: int, threads: int, rounds: int, cpu_time: bool, as_json: bool) -> None:
    """Latency of NETWORKS (all of the paper's by default)."""
    threads = 1 if cpu_time else threads
    clock = time.process_time if cpu_time else time.perf_counter
    here, results = machine(threads, clock), []
    if not as_json:
        print(", ".join(f"{key} {value}" for key, value in here.items()))
        print(f"{'network':22} {'fp32':>9} {'int8':>9} {'symmetric':>9} {'fp32/int8':>9}  MB")
    for name in networks or NETWORKS:
        made = files(build(ModelSpec(name, default_task("segmentation"))).eval())
        image = np.random.default_rng(0).standard_normal((1, 3, size, size), np.float32)
        turns = {
            kind: partial(open_session(model, threads, (size, size)).run, [OUTPUT], {INPUT: image})
            for kind, model in made.items()
        }
        samples = measure(turns, rounds, clock)
        results.append({"network": name, "size": size, "milliseconds": samples})
        if not as_json:
            median = {kind: statistics.median(values) for kind, values in samples.items()}
            times = " ".join(f"{value:9.1f}" for value in median.values())
            sizes = " / ".join(f"{model.ByteSize() / 1e6:.1f}" for model in made.values())
            print(f"{name:22} {times} {median['fp32'] / median['int8']:9.2f}  {sizes}", flush=True)
    if as_json:
        print(json.dumps({"machine": here, "results": results}))


if __name__ == "__main__":
    main()
