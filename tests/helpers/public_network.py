"""The networks of the paper's public code from their definition: names and shapes of a checkpoint, and its outputs.

Independent of `fastnas.models`: plain functions on a dictionary of tensors, for eval mode.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Of MobileNet-v2: expansion, channels, blocks, stride."""
READ = {1: 24, 2: 32, 4: 96, 6: 320}
"""Stages that the decoder reads, and their channels."""
PLAIN = {0: (1, 1), 1: (3, 1), 5: (3, 3), 6: (3, 12)}
SEPARABLE = {2: (3, 1), 3: (5, 1), 7: (3, 3), 8: (5, 6)}
GAP, SKIP, ZERO = 4, 9, 10


def make_checkpoint(genotype: list[Any], channels: int, repeats: int, outputs: int, aux: bool) -> State:
    """Random weights under the public names; `genotype` is [connections, cell]."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}

    def conv(name: str, inputs: int, width: int, kernel: int = 1, bias: bool = False) -> None:
        scale = (inputs * kernel**2) ** -0.5
        state[f"{name}.weight"] = torch.randn(width, inputs, kernel, kernel, generator=generator) * scale
        if bias:
            state[f"{name}.bias"] = torch.randn(width, generator=generator)

    def norm(name: str, width: int) -> None:
        for part in ("weight", "running_var"):
            state[f"{name}.{part}"] = 0.5 + torch.rand(width, generator=generator)
        for part in ("bias", "running_mean"):
            state[f"{name}.{part}"] = 0.2 * torch.randn(width, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def cell(name: str) -> None:
        flat = [genotype[1][0]]
        for branch in genotype[1][1:]:
            flat += [*branch[2:], None]
        for place, operation in enumerate(flat):
            prefix = f"{name}._ops.{place}"
            if operation in PLAIN:
                conv(f"{prefix}.0", channels, channels, PLAIN[operation][0])
                norm(f"{prefix}.1", channels)
            elif operation == GAP:
                conv(f"{prefix}.conv1x1.0", channels, channels)
                norm(f"{prefix}.conv1x1.1", channels)
            elif operation in SEPARABLE:
                for repeat in range(repeats):
                    conv(f"{prefix}.op.sep_{repeat}.0", 1, channels, SEPARABLE[operation][0])
                    conv(f"{prefix}.op.sep_{repeat}.1", channels, channels)
                    norm(f"{prefix}.op.sep_{repeat}.2", channels)

    conv("encoder.layer1.0", 3, 32, 3)
    norm("encoder.layer1.1", 32)
    width = 32
    for stage, (expansion, out, blocks, _) in enumerate(STAGES, start=2):
        for block in range(blocks):
            prefix, inside = f"encoder.layer{stage}.{block}.conv", width * expansion
            conv(f"{prefix}.0", width, inside)
            norm(f"{prefix}.1", inside)
            conv(f"{prefix}.3", 1, inside, 3)
            norm(f"{prefix}.4", inside)
            conv(f"{prefix}.6", inside, out)
            norm(f"{prefix}.7", out)
            width = out
    for index, inputs in enumerate(READ.values(), start=1):
        conv(f"decoder.adapt{index}.0", inputs, channels)
        norm(f"decoder.adapt{index}.1", channels)
    for index in range(3):
        for member in (1, 2):
            cell(f"decoder.cells.{index}.op_{member}")
            conv(f"decoder.cells.{index}.agg.branch_{member}.0", channels, channels)
            norm(f"decoder.cells.{index}.agg.branch_{member}.1", channels)
        if aux:
            cell(f"decoder.aux_clfs.{index}.aux_cell")
            conv(f"decoder.aux_clfs.{index}.aux_clf", channels, outputs, 3, bias=True)
    conv("decoder.pre_clf.0", channels * len(uncollected(genotype)), channels)
    norm("decoder.pre_clf.1", channels)
    conv("decoder.conv_clf", channels, outputs, 3, bias=True)
    return state


def uncollected(genotype: list[Any]) -> list[int]:
    """The sums that no pair reads."""
    return [index for index in (4, 5, 6) if not any(index in pair for pair in genotype[0])]


def run_checkpoint(state: State, genotype: list[Any], images: Tensor) -> Tensor:
    """The logits for images [N, 3, H, W]."""

    def conv(name: str, x: Tensor, stride: int = 1, rate: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        groups, padding = x.shape[1] // weight.shape[1], rate * (weight.shape[2] // 2)
        return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding, rate, groups)

    def norm(name: str, x: Tensor) -> Tensor:
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    def unit(name: str, x: Tensor, rate: int = 1) -> Tensor:
        return norm(f"{name}.1", conv(f"{name}.0", x, rate=rate)).relu()

    def operation(name: str, index: int, x: Tensor) -> Tensor:
        if index in PLAIN:
            return unit(name, x, PLAIN[index][1])
        if index in SEPARABLE:
            repeat = 0
            while f"{name}.op.sep_{repeat}.0.weight" in state:
                prefix, rate = f"{name}.op.sep_{repeat}", SEPARABLE[index][1]
                x = norm(f"{prefix}.2", conv(f"{prefix}.1", conv(f"{prefix}.0", x, rate=rate))).relu()
                repeat += 1
            return x
        if index == GAP:
            return enlarged(unit(f"{name}.conv1x1", x.mean((2, 3), keepdim=True)), x)
        return x if index == SKIP else x * 0

    def cell(name: str, x: Tensor) -> Tensor:
        values = [x, operation(f"{name}._ops.0", genotype[1][0], x)]
        for number, (p, q, a, b) in enumerate(genotype[1][1:]):
            u = operation(f"{name}._ops.{3 * number + 1}", a, values[p])
            v = operation(f"{name}._ops.{3 * number + 2}", b, values[q])
            values += [u, v, u + v]
        read = {index for branch in genotype[1][1:] for index in branch[:2]}
        return torch.stack([values[index] for index in (1, 4, 7, 10) if index not in read]).sum(0)

    def enlarged(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)

    def even(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return (a, enlarged(b, a)) if a.shape[2] >= b.shape[2] else (enlarged(a, b), b)

    x = norm("encoder.layer1.1", conv("encoder.layer1.0", images, 2)).clamp(0, 6)
    pool = []
    for stage, (_, out, blocks, first) in enumerate(STAGES, start=2):
        for block in range(blocks):
            prefix, stride = f"encoder.layer{stage}.{block}.conv", first if block == 0 else 1
            inside = norm(f"{prefix}.1", conv(f"{prefix}.0", x)).clamp(0, 6)
            inside = norm(f"{prefix}.4", conv(f"{prefix}.3", inside, stride)).clamp(0, 6)
            result = norm(f"{prefix}.7", conv(f"{prefix}.6", inside))
            x = x + result if stride == 1 and x.shape[1] == out else result
        if stage - 2 in READ:
            pool.append(unit(f"decoder.adapt{len(pool) + 1}", x))
    for index, pair in enumerate(genotype[0]):
        prefix = f"decoder.cells.{index}"
        members = [cell(f"{prefix}.op_{member}", pool[place]) for member, place in enumerate(pair, start=1)]
        a, b = (unit(f"{prefix}.agg.branch_{member}", value) for member, value in enumerate(members, start=1))
        pool.append(sum(even(a, b)))
    sums = [pool[index] for index in uncollected(genotype)]
    total = sums[0]
    for following in sums[1:]:
        total = torch.cat(even(total, following), dim=1)
    return conv("decoder.conv_clf", unit("decoder.pre_clf", total.relu()))
