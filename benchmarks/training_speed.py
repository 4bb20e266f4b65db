"""How fast the training loop is. Run: python benchmarks/training_speed.py [--device cuda] [--batch 8] [--size 256]

Our loop (`fastnas.train.loop.Trainer`) against a bare PyTorch loop of the same network, losses and optimisers on the
same batches, which are in memory; then our loop with the other memory layout and with bf16. All variants take turns,
round by round, so that whatever else the machine does hits all of them; what counts is the median of the rounds'
ratios. Wall time is what a user waits; processor time leaves out what other programs took of the cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from fastnas.data.synthetic.dataset import SyntheticScenes
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks.registry import head_for
from fastnas.train.loaders import EpochBatches
from fastnas.train.loop import Trainer, TrainerOptions
from fastnas.train.recipes import RECIPES
from fastnas.train.settings import Recipe

Step = Callable[[], None]


def bare_loop(spec: ModelSpec, recipe: Recipe, batches: list[Any], device: str) -> Step:
    """A round of what one would write by hand."""
    network, head = build(spec).to(device).to(memory_format=torch.channels_last).train(), head_for(spec.task)
    encoder = torch.optim.SGD(network.encoder.parameters(), 1e-2, 0.9, weight_decay=1e-5)
    decoder = torch.optim.Adam(network.decoder.parameters(), 3e-3, (0.9, 0.99), 1e-3, 1e-5)
    parts = ((network.encoder, encoder), (network.decoder, decoder))

    def run() -> None:
        for batch in batches:
            batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
            logits, *auxiliary = network(batch["image"].contiguous(memory_format=torch.channels_last))
            loss = head.loss(logits, batch)
            for other in auxiliary:
                loss = loss + recipe.phases[0].aux_weight * head.loss(other, batch)
            loss.backward()
            loss.item()
            for part, optimiser in parts:
                torch.nn.utils.clip_grad_norm_(part.parameters(), 3.0)
                optimiser.step()
                optimiser.zero_grad()

    return run


def our_loop(
    spec: ModelSpec, recipe: Recipe, batches: list[Any], device: str, precision: Any = "32-true", layout: bool = True
) -> Step:
    """A round of the trainer."""
    fabric = Fabric(accelerator=device, devices=1, precision=precision)
    data = SyntheticScenes(size=(64, 64), count=recipe.batch * len(batches))
    options = TrainerOptions(workers=0, channels_last=layout)
    folder = Path(tempfile.mkdtemp())
    trainer = Trainer(fabric, spec, build(spec), recipe, lambda _: data, [data], folder, options=options)
    epoch: Any = trainer._epoch

    def run() -> None:
        epoch(recipe.phases[0], batches, EpochBatches([len(data)], recipe.batch, 0))
        trainer.progress.step = 0

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="arch2")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--size", type=int, default=256, help="side of the crops, pixels")
    parser.add_argument("--batches", type=int, default=2, help="batches of a round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the processor")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    recipe = replace(RECIPES["synthetic"], batch=options.batch, polyak=0.0)
    scenes = SyntheticScenes(size=(options.size, options.size))
    spec = ModelSpec(options.network, scenes.task, aux="cell")
    samples = [scenes[i] for i in range(options.batch * options.batches)]
    images = torch.stack([sample["image"] for sample in samples]).float() / 255 - 0.5
    masks = torch.stack([sample["mask"] for sample in samples])
    names = [sample["name"] for sample in samples]
    cuts = [slice(i, i + options.batch) for i in range(0, len(samples), options.batch)]
    batches = [{"image": images[cut].contiguous(), "mask": masks[cut], "name": names[cut]} for cut in cuts]

    common = (spec, recipe, batches, options.device)
    loops = {
        "bare PyTorch": bare_loop(*common),
        "ours": our_loop(*common),
        "ours, channels first": our_loop(*common, layout=False),
        "ours, bf16": our_loop(*common, "bf16-mixed"),
    }
    synchronise: Step = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    wall: dict[str, list[float]] = {name: [] for name in loops}
    processor: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(options.rounds + 1):
        for name, loop in loops.items():
            began, worked = time.perf_counter(), time.process_time()
            loop()
            synchronise()
            if turn:  # the first round warms up
                wall[name].append(time.perf_counter() - began)
                processor[name].append(time.process_time() - worked)

    where = torch.cuda.get_device_name() if options.device == "cuda" else _processor()
    print(f"{where}; {os.cpu_count()} cores, {options.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"torch {torch.__version__}; {options.network}, batch {options.batch} of {options.size}x{options.size}")
    print(f"{options.rounds} rounds; images per second, and time against bare PyTorch: median (quartiles)")
    for name in loops:
        speed = len(samples) / statistics.median(wall[name])
        print(f"{name:21} {speed:7.2f}/s  wall {_ratio(wall, name)}  processor {_ratio(processor, name)}")


def _ratio(times: dict[str, list[float]], name: str) -> str:
    ratios = [own / bare for own, bare in zip(times[name], times["bare PyTorch"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
