"""DeepLab-v3 and -v3+. `single.py` explains the letters of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import Conv2dNormActivation

from fastnas.models.baselines.single import WIDTH, SingleOutput
from fastnas.models.depthwise import DepthwiseConv2d
from fastnas.models.layers import conv_bn_relu, resize


class DeepLab(SingleOutput):
    """The head of DeepLab-v3 as the MobileNet-v2 paper uses it (Sandler et al., CVPR 2018, Sect. 6.3).

    A 1x1 convolution, image pooling and a 3x3 convolution for each atrous rate; concatenated, projected, classified by
    a 1x1 convolution. Without rates it is that paper's reduced head. The logits have the size of the deepest feature.
    """

    def __init__(self, inputs: int, rates: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.aspp = ASPP(inputs, list(rates), WIDTH)
        self.classifier = nn.Conv2d(WIDTH, outputs, 1)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `SingleOutput`."""
        result: Tensor = self.classifier(self.aspp(features[-1]))
        return result


class DeepLabPlus(SingleOutput):
    """The head of DeepLab-v3+ (Chen et al., ECCV 2018): ASPP, refined with the shallowest feature.

    The shallowest feature is projected to 48 channels, joined to the enlarged result of ASPP, and both go through two
    3x3 convolutions. The logits have the size of the shallowest feature, a quarter of the image.

    Args:
        shallowest, deepest: channels of these two features.
        rates: of the atrous convolutions.
        separable: all 3x3 convolutions are separable ones, as in that paper with Xception.
        outputs: K.
    """

    def __init__(self, shallowest: int, deepest: int, rates: Sequence[int], separable: bool, outputs: int) -> None:
        super().__init__()
        self.aspp = ASPP(deepest, list(rates), WIDTH)
        if separable:
            for place, rate in enumerate(rates, start=1):  # behind the 1x1 convolution
                self.aspp.convs[place] = _separable(deepest, rate)
        self.project = Conv2dNormActivation(shallowest, 48, 1)
        make = _separable if separable else partial(Conv2dNormActivation, out_channels=WIDTH)
        self.refine = nn.Sequential(make(WIDTH + 48), make(WIDTH), nn.Dropout(0.1))
        self.classifier = nn.Conv2d(WIDTH, outputs, 1)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """See `SingleOutput`."""
        height, width = features[0].shape[2:]
        deep = resize(self.aspp(features[-1]), (height, width))
        result: Tensor = self.classifier(self.refine(torch.cat([deep, self.project(features[0])], 1)))
        return result


def _separable(inputs: int, rate: int = 1) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise convolution, each with batch norm and ReLU, as Xception has them here.

    [N, inputs, H, W] -> [N, WIDTH, H, W].
    """
    return nn.Sequential(
        DepthwiseConv2d(inputs, inputs, 3, padding=rate, dilation=rate, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        *conv_bn_relu(inputs, WIDTH),
    )
