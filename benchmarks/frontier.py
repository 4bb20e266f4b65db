"""Accuracy and latency on CamVid: networks of fastnas beside hand-made decoders on the same encoder.

    python benchmarks/frontier.py CAMVID --encoder-weights MOBILENET --jobs 2          # trains, then measures
    python benchmarks/frontier.py CAMVID --encoder-weights MOBILENET --seeds 1 --networks arch0,lraspp-mbv2

All have the same encoder weights and recipe, without auxiliary heads: seed 0 of every network first, then the others.
What is trained already is not trained again. Latency is that of the export in ONNX Runtime at 512x512, two threads,
the networks in turns. Prints a table and plots it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from export_latency import machine, measure
from trainings import trained

from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import OUTPUT
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.onnx.writer import INPUT, to_onnx
from fastnas.deploy.parity import open_session
from fastnas.models.checkpoint import FILE_NAME, load_model
from fastnas.models.network import Network
from fastnas.models.zoo import FOUND, PAPER

HAND_MADE = ("lraspp-mbv2", "smp/FPN", "smp/PAN", "smp/DeepLabV3Plus", "smp/Unet")
SIDE, THREADS = 512, 2


def latency(networks: Mapping[str, Network], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds and multiply-adds (G) of networks, which take turns."""
    image = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)
    turns: dict[str, Callable[[], Any]] = {}
    work = {}
    for name, network in networks.items():
        graph, _ = optimise(capture(network.eval()))
        session = open_session(to_onnx(graph), THREADS, (SIDE, SIDE))
        turns[name] = lambda session=session: session.run([OUTPUT], {INPUT: image})
        work[name] = graph.multiply_adds(SIDE, SIDE) / 1e9
    return {name: (statistics.median(times), work[name]) for name, times in measure(turns, rounds).items()}


def plot(rows: dict[str, tuple[float, list[float]]], path: Path) -> None:
    """Mean IoU, mean and range over the seeds, against milliseconds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for kind, names, marker in (
        ("the paper's", PAPER, "s"),
        ("found on CamVid", FOUND, "o"),
        ("hand-made", HAND_MADE, "^"),
    ):
        some = {name: rows[name] for name in names if name in rows}
        if some:
            x = [milliseconds for milliseconds, _ in some.values()]
            means = [statistics.mean(scores) for _, scores in some.values()]
            ranges = [
                [mean - min(scores) for mean, (_, scores) in zip(means, some.values(), strict=True)],
                [max(scores) - mean for mean, (_, scores) in zip(means, some.values(), strict=True)],
            ]
            axes.errorbar(x, means, yerr=ranges, fmt=marker, ms=6, capsize=2, lw=1, label=kind)
            for name, at, mean in zip(some, x, means, strict=True):
                axes.annotate(name, (at, mean), (5, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel=f"ms at {SIDE}x{SIDE}, ONNX Runtime, {THREADS} threads", ylabel="mean IoU, CamVid val")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Train, measure, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid")
    parser.add_argument("--encoder-weights", default="imagenet")
    parser.add_argument("--networks", default=",".join([*PAPER, *FOUND, *HAND_MADE]))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--precision", default="fp32", help="of the trainings, fp32 or bf16")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, of one thread each")
    parser.add_argument("--rounds", type=int, default=15, help="of the measurement of latency; 0 to train alone")
    parser.add_argument("--out", type=Path, default=Path("runs/frontier"))
    given = parser.parse_args()
    networks = given.networks.split(",")
    options = [
        "--encoder-weights", given.encoder_weights, "--epochs", str(given.epochs), "--eval-every", str(given.epochs),
        "--set", f"crop={given.crop},{given.crop}", "--precision", given.precision,
    ]  # fmt: skip

    def folder(seed: int, name: str) -> Path:
        return given.out / f"{name.replace('/', '-')}-{seed}"

    def score(task: tuple[int, str]) -> float:
        seed, name = task
        value = trained(folder(seed, name), given.camvid, name, *options, "--seed", str(seed))[-1][1]
        print(f"{name}, seed {seed}: {value:.4f}", flush=True)
        return value

    tasks = [(seed, name) for seed in range(given.seeds) for name in networks]
    with ThreadPoolExecutor(given.jobs) as pool:
        scores = dict(zip(tasks, pool.map(score, tasks), strict=True))
    if not given.rounds:
        return
    print(machine(THREADS, time.perf_counter))
    found = latency({name: load_model(folder(0, name) / FILE_NAME).network for name in networks}, given.rounds)
    print("| network | multiply-adds | ms | mean IoU, by seed | mean |")
    print("|---|---|---|---|---|")
    rows = {}
    for name in sorted(networks, key=lambda name: found[name][0]):
        milliseconds, work = found[name]
        values = [scores[seed, name] for seed in range(given.seeds)]
        rows[name] = (milliseconds, values)
        each = ", ".join(f"{value:.3f}" for value in values)
        print(f"| {name} | {work:.2f} G | {milliseconds:.1f} | {each} | {statistics.mean(values):.3f} |")
    plot(rows, given.out / "frontier.svg")
    print(given.out / "frontier.svg")


if __name__ == "__main__":
    main()
