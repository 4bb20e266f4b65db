"""Layers of operations, decoders and baselines.

Shapes: N batch, C channels, H height, W width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fastnas.models.depthwise import DepthwiseConv2d


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 1, rate: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; keeps the size: [N, inputs, H, W] -> [N, outputs, H, W]."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=rate * (kernel // 2), dilation=rate, groups=groups, bias=False),
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
