"""Layers of operations, decoders and baselines.

Shapes: N batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastnas.models.depthwise import DepthwiseConv2d


class DilatedConv2d(nn.Conv2d):
    """A dilated convolution that CPUs train in float32 where oneDNN's bfloat16 cannot be trusted.

    The gradient of dilated weights is NaN, infinite or wrong there for input channels that are no multiple of 16 (seen
    in torch 2.14 on a processor with AVX-512 and bfloat16 but without AMX, on images 30 pixels wide and more).
    """

    def forward(self, x: Tensor) -> Tensor:
        """See `nn.Conv2d`."""
        if not (self.training and x.is_cpu and self.in_channels % 16 and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype)).to(torch.get_autocast_dtype("cpu"))


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 1, rate: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; keeps the size: [N, inputs, H, W] -> [N, outputs, H, W]."""
    convolution = nn.Conv2d if rate == 1 else DilatedConv2d
    return nn.Sequential(
        convolution(inputs, outputs, kernel, padding=rate * (kernel // 2), dilation=rate, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def separable_bn_relu(channels: int, kernel: int, rate: int) -> nn.Sequential:
    """Depthwise then pointwise convolution, batch norm, ReLU; keeps the shape [N, C, H, W]."""
    return nn.Sequential(
        DepthwiseConv2d(
            channels,
            channels,
            kernel,
            padding=rate * (kernel // 2),
            dilation=rate,
            groups=channels,
            bias=False,
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class GlobalPool(nn.Module):
    """Global average pool, 1x1 convolution, batch norm, ReLU, spread back over the input's size.

    The paper upsamples the pooled pixel bilinearly; for a single pixel that is the same as repeating it.
    """

    def __init__(self, inputs: int, outputs: int | None = None) -> None:
        super().__init__()
        self.project = conv_bn_relu(inputs, outputs or inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W]."""
        pooled: Tensor = self.project(F.adaptive_avg_pool2d(x, 1))
        return pooled.expand(-1, -1, *x.shape[2:])


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation of [N, C, h, w] to [N, C, *size], half-pixel centres; x itself where the size fits."""
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def larger(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The largest of the sizes; features of one input are ordered alike in height and width."""
    return max(sizes)
