"""Latency on a CPU of eager PyTorch, and of the files of torch.onnx.export and fastnas export in ONNX Runtime.

    python benchmarks/export_latency.py                         # arch0-2 and three baselines at 512x512
    python benchmarks/export_latency.py arch1 --sweep --json    # 128 to 1024: time against pixels

The variants take turns, so that other programs on the machine slow all of them alike; speed-ups are ratios of medians
of one run. On a busy machine `--cpu-time` counts the processor's time with one thread instead of the clock's. The
column G/s is the multiply-adds (G) that the file of fastnas export does in a second, to be compared to the machine's
matrix product. torch.onnx.export is the tracing exporter at a fixed size; ONNX Runtime optimises both files.
"""

from __future__ import annotations

import io
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import onnx
import torch

from fastnas.data import default_task
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import OUTPUT
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.onnx.writer import INPUT, to_onnx
from fastnas.deploy.parity import open_session
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build

NETWORKS = ("arch0", "arch1", "arch2", "deeplabv3-aspp-mbv2", "deeplabv3-mbv2", "rflw-mbv2")
SWEEP = (128, 256, 384, 512, 768, 1024)


def torch_export(network: Network, size: int) -> onnx.ModelProto:
    """The model that `torch.onnx.export` makes with its defaults, for one size."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = torch.zeros(1, 3, size, size)
        names = {"input_names": [INPUT], "output_names": [OUTPUT]}
        torch.onnx.export(network, (image,), buffer, opset_version=13, dynamo=False, **names)  # type: ignore[arg-type]
    return onnx.load_from_string(buffer.getvalue())


def variants(
    network: Network, size: int, threads: int, eager: bool
) -> tuple[dict[str, Callable[[], Any]], dict[str, int], int]:
    """What takes turns, by name; how many ONNX operators the files have; the multiply-adds of fastnas export."""
    image = torch.randn(1, 3, size, size)

    def run_eager() -> None:
        with torch.inference_mode():
            network(image)

    def session(model: onnx.ModelProto) -> Callable[[], Any]:
        opened = open_session(model, threads, (size, size))
        return lambda: opened.run([OUTPUT], {INPUT: image.numpy()})

    graph, _ = optimise(capture(network))
    models = {"torch.onnx": torch_export(network, size), "fastnas": to_onnx(graph)}
    turns: dict[str, Callable[[], Any]] = {"eager": run_eager} if eager else {}
    turns |= {name: session(model) for name, model in models.items()}
    expected, found = turns["torch.onnx"]()[0], turns["fastnas"]()[0]
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()
    operators = {name: len(model.graph.node) for name, model in models.items()}
    return turns, operators, graph.multiply_adds(size, size)


REST = 0.2
"""Seconds between two variants."""


def measure(
    turns: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Milliseconds of each variant in each round, after two rounds of warming up.

    The threads of the one before go on spinning for a while, on the processors that the next one needs: it waits for
    them to sleep, and has a pass of its own first.
    """
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 2):
        for name, run in turns.items():
            time.sleep(REST)
            run()
            start = clock()
            run()
            if number >= 2:
                samples[name].append((clock() - start) * 1000)
    return samples


def matrix_rate(threads: int, clock: Callable[[], float], side: int = 1024) -> float:
    """Multiply-adds a second (G) of ONNX Runtime's matrix product: the upper bound of a dense convolution."""
    value = onnx.helper.make_tensor_value_info
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [value(name, float32, [side, side]) for name in "ab"],
        [value("c", float32, [side, side])],
    )
    imports = [onnx.helper.make_opsetid("", 13)]
    session = open_session(onnx.helper.make_model(graph, opset_imports=imports, ir_version=7), threads)
    feed = {name: np.random.default_rng(0).random((side, side), np.float32) for name in "ab"}
    times = []
    for _ in range(20):
        start = clock()
        session.run(None, feed)
        times.append(clock() - start)
    return side**3 / min(times) / 1e9


def machine(threads: int, clock: Callable[[], float]) -> dict[str, Any]:
    """The machine and the versions that this ran on."""
    import onnxruntime

    with open("/proc/cpuinfo") as file:
        model = next(
            (line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.processor()
        )
    return {
        "cpu": model,
        "threads": threads,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "matrix product, G multiply-adds/s": round(matrix_rate(threads, clock), 1),
    }


@click.command()
@click.argument("networks", nargs=-1)
@click.option("--threads", default=2, show_default=True, help="Of PyTorch and of ONNX Runtime.")
@click.option("--rounds", default=15, show_default=True, help="Measured rounds.")
@click.option("--sweep", is_flag=True, help="Resolutions from 128 to 1024 instead of 512, without eager PyTorch.")
@click.option("--cpu-time", is_flag=True, help="Processor time of one thread instead of the clock's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with the raw samples.")
def main(networks: tuple[str, ...], threads: int, rounds: int, sweep: bool, cpu_time: bool, as_json: bool) -> None:
    """Latency of NETWORKS (all of the paper's by default)."""
    threads = 1 if cpu_time else threads
    torch.set_num_threads(threads)
    clock = time.process_time if cpu_time else time.perf_counter
    here = machine(threads, clock)
    if not as_json:
        print(", ".join(f"{key} {value}" for key, value in here.items()))
        columns = ("size", "eager", "torch.onnx", "fastnas", "from eager", "from onnx", "G/s")
        print(f"{'network':22}", *(f"{column:>10}" for column in columns), "operators")
    results = []
    for name in networks or NETWORKS:
        network = build(ModelSpec(name, default_task("segmentation"))).eval()
        for size in SWEEP if sweep else (512,):
            turns, operators, work = variants(network, size, threads, eager=not sweep)
            samples = measure(turns, rounds, clock)
            rate = work / statistics.median(samples["fastnas"]) / 1e6
            results.append(
                {"network": name, "size": size, "operators": operators, "milliseconds": samples, "fastnas, G/s": rate}
            )
            if not as_json:
                median = {key: statistics.median(values) for key, values in samples.items()}
                eager = median.get("eager", float("nan"))
                ratios = eager / median["fastnas"], median["torch.onnx"] / median["fastnas"]
                print(f"{name:22} {size:10}", end="")
                print("".join(f" {value:10.1f}" for value in (eager, median["torch.onnx"], median["fastnas"])), end="")
                print("".join(f" {number:10.2f}" for number in ratios), f"{rate:10.1f}", end="")
                print(f" {operators['torch.onnx']} -> {operators['fastnas']}", flush=True)
    if as_json:
        print(json.dumps({"machine": here, "results": results}))


if __name__ == "__main__":
    main()
