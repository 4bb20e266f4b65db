"""DeepLab-v3 and -v3+, and the dilation of their encoders. `single.py` explains the letters of shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import Conv2dNormActivation

from fastnas.models.baselines.single import WIDTH, SingleOutput
from fastnas.models.depthwise import DepthwiseConv2d
from fastnas.models.encoder import Encoder
from fastnas.models.layers import resize


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
        """See `SingleOutput`."""
        height, width = features[0].shape[2:]
        deep = resize(self.aspp(features[-1]), (height, width))
        result: Tensor = self.classifier(self.refine(torch.cat([deep, self.project(features[0])], 1)))
        return result


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
