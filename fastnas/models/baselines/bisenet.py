"""BiSeNet (Yu et al., ECCV 2018). `single.py` explains the letters of shapes.

The paper does not give the widths; they are those of its authors' code for Cityscapes, as are the order of enlarging
and refining and the 1x1 convolutions at the ends of the spatial path and the head. The two auxiliary losses on the
context path are left out: baselines are trained without auxiliary heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from fastnas.models.baselines.single import SingleOutput
from fastnas.models.encoder import Encoder
from fastnas.models.layers import GlobalPool, conv_bn_relu, resize

PATH = 128
"""Channels of each of the two paths."""


class TwoPaths(Encoder):
    """The spatial path, three strided convolutions at random, beside the two deepest features of a backbone.

    It is part of the encoder, since it reads the image, and so is trained at the encoder's learning rate.
    """

    def __init__(self, context: Encoder) -> None:
        super().__init__([*context.stages], (PATH, *context.channels[-2:]))
        self.strides = (8, *context.strides[-2:])
        self.mean, self.std = context.mean, context.std
        self.spatial = nn.Sequential(
            Conv2dNormActivation(3, 64, 7, stride=2),
            Conv2dNormActivation(64, 64, 3, stride=2),
            Conv2dNormActivation(64, 64, 3, stride=2),
            conv_bn_relu(64, PATH),
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """[N, 3, H, W] -> features of strides 8, 16 and 32."""
        return [self.spatial(images), *super().forward(images)[-2:]]


class BiSeNet(SingleOutput):
    """The context path behind the backbone, its fusion with the spatial path, and the head.

    The logits have the size of the spatial path, an eighth of the image.

    Args:
        channels: of the features of `TwoPaths`.
        outputs: K.
    """

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        _, middle, deepest = channels
        self.pool = GlobalPool(deepest, PATH)
        self.refinements = nn.ModuleList([AttentionRefinement(deepest), AttentionRefinement(middle)])
        self.smoothing = nn.ModuleList([conv_bn_relu(PATH, PATH, 3), conv_bn_relu(PATH, PATH, 3)])
        self.fusion = FeatureFusion(2 * PATH)
        self.classifier = nn.Sequential(conv_bn_relu(2 * PATH, 64, 3), nn.Conv2d(64, outputs, 1))

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `SingleOutput`."""
        spatial, middle, deepest = features
        context = self.pool(deepest)
        steps = zip((deepest, middle), (middle, spatial), self.refinements, self.smoothing, strict=True)
        for feature, target, refine, smooth in steps:
            context = refine(feature) + context
            context = smooth(resize(context, (target.shape[2], target.shape[3])))
        result: Tensor = self.classifier(self.fusion(torch.cat([spatial, context], 1)))
        return result


class AttentionRefinement(nn.Module):
    """A 3x3 convolution to `PATH` channels, each weighted by what global pooling sees."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.convolution = conv_bn_relu(inputs, PATH, 3)
        self.attention = nn.Sequential(nn.Conv2d(PATH, PATH, 1, bias=False), nn.BatchNorm2d(PATH), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] -> [N, PATH, h, w]."""
        x = self.convolution(x)
        weights: Tensor = self.attention(F.adaptive_avg_pool2d(x, 1))
        return x * weights


class FeatureFusion(nn.Module):
    """A 1x1 convolution, and what channel attention makes of its result added to it: [N, C, h, w] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = conv_bn_relu(channels, channels)
        self.attention = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.convolution(x)
        weights: Tensor = self.attention(F.adaptive_avg_pool2d(x, 1))
        return x + x * weights
