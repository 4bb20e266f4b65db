"""Candidates per hour of the search's stage 1, and where the time goes. Run: python benchmarks/search_speed.py

Stage 1 is the search's own, on random features of the sizes that MobileNet-v2 gives. Beside it stand the same steps
with one thing undone each time. Processor time, so that other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.profiler import ProfilerActivity, profile

from fastnas.models.decoder import Decoder
from fastnas.models.depthwise import DepthwiseConv2d
from fastnas.models.genotype import Genotype
from fastnas.train.objective import WeightUpdate

CHANNELS = (24, 32, 96, 320)
CLASSES = 11


def stage1(
    genotype: Genotype,
    options: argparse.Namespace,
    *,
    layout: torch.memory_format = torch.channels_last,
    fused: bool = True,
    lazy: bool = True,
    depthwise: bool = True,
    listed: bool = True,
    precision: torch.dtype = torch.float32,
) -> float:
    """Processor seconds of `options.steps` training steps."""
    torch.manual_seed(0)
    decoder = Decoder(genotype, CHANNELS, options.channels, 1, CLASSES, "cell").to(memory_format=layout)
    for module in decoder.modules():
        if isinstance(module, DepthwiseConv2d) and not depthwise:
            module.__class__ = nn.Conv2d
    optimiser = torch.optim.Adam(decoder.parameters(), 3e-3, weight_decay=1e-5, fused=fused, foreach=None)
    update = WeightUpdate(decoder, [(optimiser, 3.0)], 0.9)
    ema = AveragedModel(decoder, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    if not listed:
        update.ema = None
    sides = [options.crop // stride for stride in (4, 8, 16, 32)]
    count = 4 * options.batch
    maps = [torch.randn(count, s, s, c).half() for s, c in zip(sides, CHANNELS, strict=True)]
    masks = torch.randint(0, CLASSES, (count, sides[0], sides[0]))
    drawn = {int(i) for i in decoder.adapters}
    start = 0.0
    for step in range(options.steps + 1):
        if step == 1:  # the first one allocates
            start = time.process_time()
        chosen = torch.randperm(count)[: options.batch]
        inputs = [
            each[chosen].permute(0, 3, 1, 2).float().contiguous(memory_format=layout)
            if i in drawn or not lazy
            else torch.zeros(()).expand(options.batch, each.shape[3], *each.shape[1:3])
            for i, each in enumerate(maps)
        ]
        size = masks.shape[1:]
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            outputs = decoder(inputs)
        losses = [
            F.cross_entropy(F.interpolate(logits.float(), size=size, mode="bilinear"), masks[chosen])
            for logits in outputs
        ]
        sum(losses[1:], losses[0]).backward()
        update.step()
        if not listed:
            ema.update_parameters(decoder)
    return time.process_time() - start


def main() -> None:
    """Print the table and the profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crop", type=int, default=128, help="side of the images, pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of every candidate")
    parser.add_argument("--candidates", type=int, default=6, help="random architectures")
    parser.add_argument("--train", type=int, default=330, help="images of an epoch, for candidates per hour")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    genotypes = [Genotype.random(random.Random(seed)) for seed in range(options.candidates)]
    ways: dict[str, Callable[[Genotype], float]] = {
        "as it is": lambda g: stage1(g, options),
        "channels first": lambda g: stage1(g, options, layout=torch.contiguous_format),
        "Adam not fused": lambda g: stage1(g, options, fused=False),
        "all encoder outputs read": lambda g: stage1(g, options, lazy=False),
        "EMA through all modules": lambda g: stage1(g, options, listed=False),
        "depthwise as PyTorch does it": lambda g: stage1(g, options, depthwise=False),
        "all of these": lambda g: stage1(
            g, options, layout=torch.contiguous_format, fused=False, lazy=False, depthwise=False, listed=False
        ),
        "bfloat16": lambda g: stage1(g, options, precision=torch.bfloat16),
    }
    steps = options.train // options.batch * options.epochs
    print(f"crop {options.crop}, batch {options.batch}, {options.channels} channels, one thread, {steps} steps each")
    # The ways take turns at every architecture, so that whatever else the machine does hits all of them.
    seconds = dict.fromkeys(ways, 0.0)
    for genotype in genotypes:
        for name, way in ways.items():
            seconds[name] += way(genotype) / len(genotypes) / options.steps
    base = seconds["as it is"]
    for name, each in seconds.items():
        print(f"{name:29} {1000 * each:6.0f} ms a step ({each / base:.2f}x), {3600 / (each * steps):6.0f} an hour")
    with profile(activities=[ProfilerActivity.CPU]) as found:
        stage1(genotypes[0], options)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40))


if __name__ == "__main__":
    main()
