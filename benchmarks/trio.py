"""One network of three tasks against three networks of one task: milliseconds of a frame, and megabytes of the files.

    python benchmarks/trio.py                       # random weights: neither depends on them
    python benchmarks/trio.py --network arch0 --res 384x512 --classes 2

Each graph runs in ONNX Runtime on one thread, fixed to its size as the device opens it; the sessions take turns, and
the processor time of a pass is counted, so that other work on the machine matters little. The network of pose alone
takes a crop of 256x256, and the whole frame for comparison. What follows the networks (arg-max, peaks) is not counted;
it is the same for both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fastnas.data import default_task
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.io_forms import forms_of, split
from fastnas.deploy.onnx.writer import INPUT, to_onnx
from fastnas.deploy.parity import open_session
from fastnas.jetson.options import parse_size
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks import Segmentation, Task, join_tasks

CROP = (256, 256)
BEST = 0.1
"""Of the passes of a network the share that is the fastest; its slowest pass counts."""


def tasks(classes: int) -> dict[str, Task]:
    """The tasks of the networks that are compared."""
    named = Segmentation(tuple(f"class {i}" for i in range(classes)), ((0, 0, 0),) * classes)
    single = {"segmentation": named, "depth": default_task("depth"), "pose": default_task("pose")}
    return {**single, "trio": join_tasks(single.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="arch2")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--sep-repeats", type=int, default=2)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--res", type=parse_size, default=(384, 512), help="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.manual_seed(0)
    base = ModelSpec(options.network, default_task("depth"), channels=options.channels, sep_repeats=options.sep_repeats)
    runs: dict[str, tuple[Any, dict[str, Any]]] = {}
    megabytes = {}
    for name, task in tasks(options.classes).items():
        network = build(replace(base, task=task)).eval()
        graph, _ = optimise(split(capture(network), forms_of(task, ())))
        model = to_onnx(graph)
        megabytes[name] = model.ByteSize() / 1e6
        for size in [options.res, CROP] if name == "pose" else [options.res]:
            label = f"{name} (crop)" if size == CROP else name
            image = np.random.default_rng(0).standard_normal((1, 3, *size), np.float32)
            runs[label] = open_session(model, 1, size), {INPUT: image}
    passes: dict[str, list[float]] = {label: [] for label in runs}
    for turn in range(options.rounds + 1):
        for label, (session, feed) in runs.items():
            start = time.process_time()
            session.run(None, feed)
            if turn:  # the first warms up
                passes[label].append(1000 * (time.process_time() - start))
    times = {label: statistics.quantiles(found, n=round(1 / BEST))[0] for label, found in passes.items()}
    print("{} at {}x{}, {} passes each".format(options.network, *options.res, options.rounds))
    for label, milliseconds in times.items():
        size, share = megabytes[label.removesuffix(" (crop)")], milliseconds / times["segmentation"]
        print(f"{label:14} {milliseconds:7.1f} ms  {size:5.2f} MB  {share:.3f} of segmentation")
    for pose in ("pose (crop)", "pose"):
        three = times["segmentation"] + times["depth"] + times[pose]
        print(f"three networks with {pose}: {three:.1f} ms, {three / times['trio']:.2f} times the trio's")
    total = sum(megabytes[name] for name in ("segmentation", "depth", "pose"))
    print(f"three networks: {total:.2f} MB, {total / megabytes['trio']:.2f} times the trio's")


if __name__ == "__main__":
    main()
