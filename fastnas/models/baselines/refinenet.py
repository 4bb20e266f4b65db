"""Light-Weight RefineNet, and MobileNet-v2 cut for it. `single.py` explains the letters of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from fastnas.models.baselines.single import WIDTH, SingleOutput
from fastnas.models.encoder import Encoder
from fastnas.models.layers import resize


class ChainedPooling(nn.Module):
    """Four times: pool 5x5, project; each link reads the one before, and all are added to the input [N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.links = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(5, stride=1, padding=2), _linear(channels, channels)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        result = link = x
        for step in self.links:
            link = step(link)
            result = result + link
        return result


class RefineLevel(nn.Module):
    """One resolution of Light-Weight RefineNet: project its features, add the deeper level, ReLU, chained pooling.

    Args:
        laterals: projects each of the level's features to `width` channels.
        width: channels inside the level.
        last: the level is the shallowest; its result is not projected for a next one.
    """

    def __init__(self, laterals: Sequence[nn.Module], width: int, last: bool) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(laterals)
        self.pooling = ChainedPooling(width)
        self.project = nn.Identity() if last else _linear(width, WIDTH)

    def forward(self, features: Sequence[Tensor], deeper: Tensor | None) -> Tensor:
        """Features [N, ., H, W] and the deeper level's [N, WIDTH, ., .], if any -> [N, WIDTH, H, W]."""
        terms = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        if deeper is not None:
            terms.append(resize(deeper, (features[0].shape[2], features[0].shape[3])))
        result: Tensor = self.project(self.pooling(reduce(torch.add, terms).relu()))
        return result


class LightWeightRefineNet(SingleOutput):
    """Light-Weight RefineNet (Nekrasov et al., BMVC 2018): a level for each stride, deepest first.

    The logits have the size of the shallowest feature.

    Args:
        channels, strides: of the encoder's features; those of equal stride share a level.
        wide: the published shape for ResNets, whose deepest level is twice as wide and whose other levels project
            twice; else that for MobileNet-v2.
        outputs: K.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], wide: bool, outputs: int) -> None:
        super().__init__()
        deepest, *others = sorted(set(strides), reverse=True)
        self.members = [[i for i, s in enumerate(strides) if s == stride] for stride in (deepest, *others)]
        width = 2 * WIDTH if wide else WIDTH
        self.levels = nn.ModuleList([RefineLevel([_linear(channels[i], width) for i in self.members[0]], width, False)])
        for stride, members in zip(others, self.members[1:], strict=True):
            again = [_linear(WIDTH, WIDTH)] if wide else []
            laterals = [nn.Sequential(_linear(channels[i], WIDTH), *again) for i in members]
            self.levels.append(RefineLevel(laterals, WIDTH, last=stride == others[-1]))
        self.classifier = nn.Conv2d(WIDTH, outputs, 3, padding=1)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `SingleOutput`."""
        deeper = None
        for level, members in zip(self.levels, self.members, strict=True):
            deeper = level([features[i] for i in members], deeper)
        result: Tensor = self.classifier(deeper)
        return result


def every_width(encoder: Encoder) -> Encoder:
    """MobileNet-v2 cut at each of its widths: features of 64 and 160 channels beside the usual four."""
    cut: list[nn.Module] = []
    for stage, blocks in zip(encoder.stages, (None, None, 4, 3), strict=True):
        assert isinstance(stage, nn.Sequential)
        cut += [stage[:blocks], stage[blocks:]] if blocks else [stage]
    result = Encoder(cut, (24, 32, 64, 96, 160, 320))
    result.strides = (4, 8, 16, 16, 32, 32)
    return result


def _linear(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)
