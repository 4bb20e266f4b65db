"""A genotype becomes a decoder (paper Sect. 3.4, Fig. 1): adapters, cells, sums, and the auxiliary heads of training.

Shapes: N batch, C decoder channels, K task channels (`outputs`), H and W of the respective feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn

from fastnas.models.cell_plan import collected_sums, plan_cell
from fastnas.models.genotype import ENCODER_OUTPUTS, Genotype
from fastnas.models.layers import conv_bn_relu, larger, resize
from fastnas.models.operations import make_operation

Auxiliary = Literal["none", "clf", "cell"]
"""Kind of the auxiliary heads: none, a classifier, or the cell and a classifier (paper Sect. 3.3)."""


class Cell(nn.Module):
    """The cell of a genotype, with its own weights: [N, C, H, W] -> [N, C, H, W]."""

    def __init__(self, genotype: Genotype, channels: int, repeats: int) -> None:
        super().__init__()
        self.plan = plan_cell(genotype.cell)
        self.operations = nn.ModuleDict(
            {
                str(step.target): make_operation(step.operation, channels, repeats)
                for step in self.plan.steps
                if step.operation is not None
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the values that no branch reads; zeros where the plan has no outputs."""
        values = {0: x}
        for step in self.plan.steps:
            total = _sum([values[source] for source in step.sources])
            values[step.target] = total if step.operation is None else self.operations[str(step.target)](total)
        if not self.plan.outputs:
            return x.new_zeros(x.shape)
        return _sum([values[target] for target in self.plan.outputs])


class Block(nn.Module):
    """One pair of the connections: a cell and a 1x1 convolution on each member, then the sum at the larger size."""

    def __init__(self, genotype: Genotype, channels: int, repeats: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Cell(genotype, channels, repeats) for _ in range(2))
        self.projections = nn.ModuleList(conv_bn_relu(channels, channels) for _ in range(2))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two features [N, C, ., .] -> their processed sum [N, C, H, W] at the larger of the two sizes."""
        size = larger([_size(a), _size(b)])
        pairs = zip((a, b), self.cells, self.projections, strict=True)
        return _sum([resize(project(cell(x)), size) for x, cell, project in pairs])


class Decoder(nn.Module):
    """Encoder features -> task logits.

    In training mode the result is a list: the logits, then one of each auxiliary head. They read the sums
    and never feed the main path; in evaluation mode they are not run.

    Args:
        genotype: the architecture.
        in_channels: channels of the four encoder outputs, shallow to deep.
        channels: C (48 in the paper's search, 64 in full training).
        repeats: R, repetitions of a separable operation (1 in search, 2 in full training).
        outputs: K.
        aux: kind of the auxiliary heads.
        head_stds: standard deviations of the classifiers' initial weights, `Task.head_stds`; None for Xavier's.
        stepwise: enlarge the sums as the paper's public code does: one after the other, those before it to the size of
            the next where that is larger, instead of each at once to the largest size.
    """

    def __init__(
        self,
        genotype: Genotype,
        in_channels: Sequence[int],
        channels: int,
        repeats: int,
        outputs: int,
        aux: Auxiliary = "none",
        head_stds: Sequence[tuple[int, float | None]] = (),
        stepwise: bool = False,
    ) -> None:
        super().__init__()
        self.stepwise = stepwise
        if len(in_channels) != ENCODER_OUTPUTS:
            raise ValueError(f"a decoder needs {ENCODER_OUTPUTS} encoder outputs, not {len(in_channels)}")
        self.connections = genotype.connections
        self.collected = collected_sums(genotype.connections)
        # A zero cell makes every sum zero: nothing but the classifier's constant remains.
        self.zero = not plan_cell(genotype.cell).outputs
        read = {index for pair in genotype.connections for index in pair if index < ENCODER_OUTPUTS}
        self.adapters = nn.ModuleDict(
            {} if self.zero else {str(i): conv_bn_relu(in_channels[i], channels) for i in sorted(read)}
        )
        blocks = () if self.zero else genotype.connections
        self.blocks = nn.ModuleList(Block(genotype, channels, repeats) for _ in blocks)
        self.collect = nn.Identity() if self.zero else conv_bn_relu(len(self.collected) * channels, channels)
        self.classifier = nn.Conv2d(channels, outputs, 3, padding=1)
        self.auxiliary = nn.ModuleList(
            _auxiliary_head(aux, genotype, channels, repeats, outputs) for _ in blocks if aux != "none"
        )
        self.apply(_initialise)
        for head in (self.classifier, *self.auxiliary):
            _reinitialise(head, head_stds)

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Features, shallow to deep -> logits [N, K, H, W] at the size of the largest collected sum."""
        if self.zero:
            return self._constant(features)
        pool = {i: self.adapters[str(i)](x) if str(i) in self.adapters else x for i, x in enumerate(features)}
        for index, (pair, block) in enumerate(zip(self.connections, self.blocks, strict=True), start=ENCODER_OUTPUTS):
            pool[index] = block(pool[pair[0]], pool[pair[1]])
        sums = [pool[index] for index in self.collected]
        logits: Tensor = self.classifier(self.collect(_concatenate(sums, self.stepwise)))
        if not self.training:
            return logits
        return [logits, *(head(pool[ENCODER_OUTPUTS + k]) for k, head in enumerate(self.auxiliary))]

    def _constant(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """The logits of a zero cell, at the size that the sums would have had."""
        sizes = [_size(x) for x in features]
        for a, b in self.connections:
            sizes.append(larger([sizes[a], sizes[b]]))
        size = larger([sizes[index] for index in self.collected])
        zeros = features[0].new_zeros(features[0].shape[0], self.classifier.in_channels, *size)
        logits: Tensor = self.classifier(zeros)
        return [logits] if self.training else logits


def _auxiliary_head(kind: Auxiliary, genotype: Genotype, channels: int, repeats: int, outputs: int) -> nn.Module:
    classifier = nn.Conv2d(channels, outputs, 3, padding=1)
    return nn.Sequential(Cell(genotype, channels, repeats), classifier) if kind == "cell" else classifier


def _initialise(module: nn.Module) -> None:
    """Xavier weights, as the paper's decoders have."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _reinitialise(head: nn.Module, stds: Sequence[tuple[int, float | None]]) -> None:
    """Normally distributed weights for those outputs of a classifier that have a standard deviation."""
    last = head[-1] if isinstance(head, nn.Sequential) else head
    assert isinstance(last, nn.Conv2d)
    first = 0
    for count, std in stds:
        if std is not None:
            nn.init.normal_(last.weight.detach()[first : first + count], std=std)
        first += count


def _concatenate(sums: Sequence[Tensor], stepwise: bool) -> Tensor:
    """Sums [N, C, ., .] as one [N, len(sums) C, H, W] of the largest size; `stepwise` as of `Decoder`."""
    if stepwise and len(sums) > 1:
        return _concatenate([_concatenate(sums[:-1], stepwise), sums[-1]], stepwise=False)
    size = larger([_size(x) for x in sums])
    return torch.cat([resize(x, size) for x in sums], dim=1)


def _sum(values: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, values)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]
