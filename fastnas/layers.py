"""The small layers that operations, decoders and baselines are made of.

Shapes: N batch, C channels, H height, W width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 1, rate: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; keeps the size: [N, inputs, H, W] -> [N, outputs, H, W]."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=rate * (kernel // 2), dilation=rate, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution of stride 1 that keeps the size; when dilated it is trained on CPUs as a plain one.

    The taps of a convolution of rate r never leave one of the r x r grids of every r-th pixel, so that a plain
    convolution of these grids, which become members of the batch, gives the same. oneDNN's gradient of the dilated form
    is slower (`benchmarks/dilated_depthwise.py`), and that of its weights is wrong in bfloat16 (seen in torch 2.14).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        rate = self.dilation[0]
        if rate == 1 or not (self.training and x.is_cpu):
            return super().forward(x)
        n, c, height, width = x.shape
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, -width % rate, 0, -height % rate))
        rows, columns = padded.shape[1] // rate, padded.shape[2] // rate
        grids = padded.reshape(n, rows, rate, columns, rate, c).permute(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns, c)
        result = F.conv2d(grids.permute(0, 3, 1, 2), self.weight, self.bias, padding=self.kernel_size[0] // 2, groups=c)
        split = result.permute(0, 2, 3, 1).reshape(n, rate, rate, rows, columns, c).permute(0, 3, 1, 4, 2, 5)
        joined = split.reshape(n, rows * rate, columns * rate, c)[:, :height, :width]
        return joined.permute(0, 3, 1, 2)


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
    """Bilinear interpolation of [N, C, h, w] to [N, C, *size], half-pixel centres; nothing to do when it fits."""
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def larger(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The largest of the sizes; features of one input are ordered alike in height and width."""
    return max(sizes)
