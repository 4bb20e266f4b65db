"""Baselines of the paper's tables, on the same encoders: DeepLab-v3 and -v3+, Light-Weight RefineNet, simple pose.

Shapes: N batch, C channels, K task channels (`outputs`), H and W of the respective feature. A baseline is a `Network`;
in training mode its result is a list of one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import Conv2dNormActivation

from fastnas.errors import FastnasError
from fastnas.models.depthwise import DepthwiseConv2d
from fastnas.models.encoder import Encoder, make_encoder
from fastnas.models.layers import resize
from fastnas.models.network import Network

WIDTH = 256
"""Channels inside every baseline's decoder."""


class _SingleOutput(nn.Module):
    """A decoder without auxiliary heads: logits, or a list of only them in training mode."""

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        logits = self.logits(features)
        return [logits] if self.training else logits

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """Features, shallow to deep -> [N, K, h, w]."""
        raise NotImplementedError


class DeepLab(_SingleOutput):
    """The head of DeepLab-v3 as the MobileNet-v2 paper uses it (Sandler et al., CVPR 2018, Sect. 6.3).

    A 1x1 convolution, image pooling and a 3x3 convolution for each atrous rate; concatenated, projected, classified by
    a 1x1 convolution. Without rates it is that paper's reduced head. The logits have the size of the deepest feature.
    """

    def __init__(self, inputs: int, rates: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.aspp = ASPP(inputs, list(rates), WIDTH)
        self.classifier = nn.Conv2d(WIDTH, outputs, 1)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `_SingleOutput`."""
        result: Tensor = self.classifier(self.aspp(features[-1]))
        return result


class DeepLabPlus(_SingleOutput):
    """The head of DeepLab-v3+ (Chen et al., ECCV 2018): ASPP, refined with the shallowest feature.

    The shallowest feature is projected to 48 channels, joined to the enlarged result of ASPP, and both go through two
    3x3 convolutions. The logits have the size of the shallowest feature, a quarter of the image.
    """

    def __init__(self, shallowest: int, deepest: int, rates: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.aspp = ASPP(deepest, list(rates), WIDTH)
        self.project = Conv2dNormActivation(shallowest, 48, 1)
        self.refine = nn.Sequential(
            Conv2dNormActivation(WIDTH + 48, WIDTH, 3), Conv2dNormActivation(WIDTH, WIDTH, 3), nn.Dropout(0.1)
        )
        self.classifier = nn.Conv2d(WIDTH, outputs, 1)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `_SingleOutput`."""
        height, width = features[0].shape[2:]
        deep = resize(self.aspp(features[-1]), (height, width))
        result: Tensor = self.classifier(self.refine(torch.cat([deep, self.project(features[0])], 1)))
        return result


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


class LightWeightRefineNet(_SingleOutput):
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
        """See `_SingleOutput`."""
        deeper = None
        for level, members in zip(self.levels, self.members, strict=True):
            deeper = level([features[i] for i in members], deeper)
        result: Tensor = self.classifier(deeper)
        return result


class SimplePose(_SingleOutput):
    """The head of the simple baselines for pose (Xiao et al., ECCV 2018): three deconvolutions, a 1x1 classifier.

    The logits have the size of the shallowest feature, a quarter of the image. Where the image is no multiple of 32 the
    deconvolutions reach past its right and lower edge, and that surplus is cut off.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.deconvolutions = nn.Sequential(*(_deconvolution(c, WIDTH) for c in (inputs, WIDTH, WIDTH)))
        self.classifier = nn.Conv2d(WIDTH, outputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)  # as published
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `_SingleOutput`."""
        height, width = features[0].shape[2:]
        result: Tensor = self.classifier(self.deconvolutions(features[-1]))
        return result[:, :, :height, :width]


def dilate(encoder: Encoder, output_stride: int) -> None:
    """Make a MobileNet-v2 or ResNet keep its resolution from `output_stride` (8 or 16) on, in place.

    Strides beyond it become 1, and every later 3x3 convolution spreads its taps instead, so that it sees what it saw:
    the dilated features hold the plain ones at every second (or fourth) pixel, and pretrained weights stay valid.
    """
    rate = 1
    for stage, reached in zip(encoder.stages, encoder.strides, strict=True):
        for module in stage.modules():  # in the order of execution, which torchvision's classes are written in
            if isinstance(module, nn.Conv2d) and reached > output_stride:
                kernel = module.kernel_size[0]
                module.dilation = (rate, rate)
                module.padding = (rate * (kernel // 2),) * 2
                if type(module) is nn.Conv2d and module.groups == module.in_channels:
                    module.__class__ = DepthwiseConv2d  # the same, but for how a CPU computes its gradients
                if module.stride != (1, 1):
                    module.stride = (1, 1)
                    # The 1x1 convolution of a ResNet's shortcut has a stride beside that of the 3x3 one: count it once.
                    rate *= 2 if kernel > 1 else 1
    encoder.strides = tuple(min(stride, output_stride) for stride in encoder.strides)


def _every_width(encoder: Encoder) -> Encoder:
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


def _deconvolution(inputs: int, outputs: int) -> nn.Sequential:
    """[N, inputs, H, W] -> [N, outputs, 2H, 2W]."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _deeplab(encoder: Encoder, outputs: int, stride: int, rates: Sequence[int]) -> Network:
    dilate(encoder, stride)
    return Network(encoder, DeepLab(encoder.channels[-1], rates, outputs))


def _deeplab_plus(encoder: Encoder, outputs: int) -> Network:
    dilate(encoder, 16)
    return Network(encoder, DeepLabPlus(encoder.channels[0], encoder.channels[-1], (6, 12, 18), outputs))


def _refinenet(encoder: Encoder, outputs: int, wide: bool) -> Network:
    if not wide:
        encoder = _every_width(encoder)
    return Network(encoder, LightWeightRefineNet(encoder.channels, encoder.strides, wide, outputs))


def _simple_pose(encoder: Encoder, outputs: int) -> Network:
    return Network(encoder, SimplePose(encoder.channels[-1], outputs))


_BASELINES: dict[str, tuple[str, Callable[[Encoder, int], Network]]] = {
    "deeplabv3-mbv2": ("mobilenet_v2", partial(_deeplab, stride=8, rates=())),
    "deeplabv3-aspp-mbv2": ("mobilenet_v2", partial(_deeplab, stride=16, rates=(6, 12, 18))),
    "deeplabv3plus-mbv2": ("mobilenet_v2", _deeplab_plus),
    "rflw-mbv2": ("mobilenet_v2", partial(_refinenet, wide=False)),
    "rflw-resnet50": ("resnet50", partial(_refinenet, wide=True)),
    "rflw-resnet101": ("resnet101", partial(_refinenet, wide=True)),
    "rflw-resnet152": ("resnet152", partial(_refinenet, wide=True)),
    "simplepose-resnet50": ("resnet50", _simple_pose),
}
BASELINES: tuple[str, ...] = tuple(_BASELINES)
"""The names that `make_baseline` knows."""


def baseline_encoder(name: str) -> str:
    """The encoder that a baseline of this name has.

    Raises:
        FastnasError: there is no such baseline.
    """
    if name not in _BASELINES:
        raise FastnasError(f"baseline {name!r} is not one of {', '.join(BASELINES)}")
    return _BASELINES[name][0]


def make_baseline(name: str, outputs: int, weights: str | Path = "none") -> Network:
    """A baseline by name.

    Args:
        name: one of `BASELINES`.
        outputs: K.
        weights: of its encoder; see `fastnas.models.encoder.make_encoder`.

    Raises:
        FastnasError: there is no such baseline; the weights cannot be had.
    """
    encoder = make_encoder(baseline_encoder(name), weights)
    _, assemble = _BASELINES[name]
    return assemble(encoder, outputs)
