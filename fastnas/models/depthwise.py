"""Depthwise convolutions with fast gradients on CPUs.

Shapes: N batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

IN_CACHE = 2**19
"""Largest number of values of a chunk of a batch, so that it stays in the caches between reads."""
SMALL = 3
"""Largest side of a grid of pixels for which a dilated convolution is summed tap by tap instead."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution of stride 1 that keeps the size; on CPUs its gradients are computed differently.

    oneDNN has fast gradients for plain 3x3 ones only (`benchmarks/depthwise.py`), and that of dilated weights is wrong
    in bfloat16 (seen in torch 2.14). So a dilated convolution is trained as a plain one on grids, and the gradient of
    5x5 weights is put together from those of 3x3 ones.

    The taps of a convolution of rate r never leave one of the r x r grids of every r-th pixel, so that a plain
    convolution of these grids, which become members of the batch, gives the same. Of grids of few pixels oneDNN's
    gradients are slow again, and most taps lie outside the image: what is left of them is summed one by one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        if not (self.training and x.is_cpu):
            return super().forward(x)
        rate = self.dilation[0]
        if rate == 1:
            return self._plain(x)
        n, c, height, width = x.shape
        if max(height, width) <= SMALL * rate and self.bias is None:
            return self._by_taps(x)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, -width % rate, 0, -height % rate))
        rows, columns = padded.shape[1] // rate, padded.shape[2] // rate
        grids = padded.reshape(n, rows, rate, columns, rate, c).permute(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns, c)
        result = self._plain(grids.permute(0, 3, 1, 2))
        split = result.permute(0, 2, 3, 1).reshape(n, rate, rate, rows, columns, c).permute(0, 3, 1, 4, 2, 5)
        joined = split.reshape(n, rows * rate, columns * rate, c)[:, :height, :width]
        return joined.permute(0, 3, 1, 2)

    def _by_taps(self, x: Tensor) -> Tensor:
        """The convolution, summed in float32 at least, whatever the precision of its result."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        exact = _at_least_float32(x)
        result: Tensor = _ConvolutionByTaps.apply(x.to(exact), self.weight.to(exact), self.dilation[0])
        return result.to(dtype)

    def _plain(self, x: Tensor) -> Tensor:
        """The convolution without its dilation."""
        if self.kernel_size != (5, 5) or self.bias is not None:
            return F.conv2d(x, self.weight, self.bias, padding=self.kernel_size[0] // 2, groups=self.groups)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            x, weight = (each.to(torch.get_autocast_dtype("cpu")) for each in (x, weight))
        result: Tensor = _Convolution5x5.apply(x, weight)
        return result


def quicken(module: nn.Module) -> None:
    """Make the dilated depthwise convolutions inside a module that keep the size `DepthwiseConv2d`, in place."""
    for conv in module.modules():
        if type(conv) is not nn.Conv2d or conv.groups != conv.in_channels or conv.stride != (1, 1):
            continue
        rate = conv.dilation[0]
        if rate > 1 and conv.padding == tuple(rate * (side // 2) for side in conv.kernel_size):
            conv.__class__ = DepthwiseConv2d  # the same, but for how a CPU computes its gradients


class _ConvolutionByTaps(torch.autograd.Function):
    """A depthwise convolution that keeps the size, tap by tap: x [N, C, H, W], weight [C, 1, K, K] -> [N, C, H, W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rate: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rate = rate
        images, taps = x.permute(0, 2, 3, 1), _taps(weight)
        result = torch.zeros_like(images)
        for tap, there, here in _overlaps(x, weight, rate):
            result[there].addcmul_(images[here], taps[tap])
        return result.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        images, above, taps = x.permute(0, 2, 3, 1), upstream.permute(0, 2, 3, 1), _taps(weight)
        of_x = torch.zeros_like(images) if ctx.needs_input_grad[0] else None
        of_taps = torch.zeros_like(taps) if ctx.needs_input_grad[1] else None
        for tap, there, here in _overlaps(x, weight, ctx.rate):
            if of_x is not None:
                of_x[here].addcmul_(above[there], taps[tap])
            if of_taps is not None:
                of_taps[tap] = (above[there] * images[here]).sum((0, 1, 2))
        return (
            None if of_x is None else of_x.permute(0, 3, 1, 2),
            None if of_taps is None else of_taps.t().reshape(weight.shape),
            None,
        )


def _taps(weight: Tensor) -> Tensor:
    """[C, 1, K, K] -> [K * K, C]."""
    return weight.flatten(1).t().contiguous()


def _overlaps(x: Tensor, weight: Tensor, rate: int) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """The taps that meet the image [N, C, H, W] somewhere: number, the pixels [N, H, W] they give to, and take from."""
    kernel, (height, width) = weight.shape[-1], x.shape[2:]
    for tap in range(kernel**2):
        down, right = (rate * (place - kernel // 2) for place in divmod(tap, kernel))
        if abs(down) < height and abs(right) < width:
            rows, columns = _shifted_by(down, height), _shifted_by(right, width)
            yield tap, (slice(None), rows[0], columns[0]), (slice(None), rows[1], columns[1])


def _shifted_by(offset: int, size: int) -> tuple[slice, slice]:
    """The places i of 0 to size - 1 for which i + offset is one of them too, and these i + offset."""
    first, count = max(0, -offset), size - abs(offset)
    return slice(first, first + count), slice(first + offset, first + offset + count)


class _Convolution5x5(torch.autograd.Function):
    """A plain depthwise 5x5 convolution: x [N, C, H, W], weight [C, 1, 5, 5] -> [N, C, H, W].

    The gradient of a tap is a sum over the pixels of upstream times the input at the tap's offset, whatever kernel the
    tap belongs to: four 3x3 kernels on inputs shifted by two have all the taps, some of them twice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=2, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _gradients(upstream, x, weight, padding=2, mask=(True, False))[0]
        if ctx.needs_input_grad[1]:
            of_weight = torch.empty_like(weight)
            for (i, j), part in _shifted(upstream, x, weight[:, :, :3, :3].contiguous()).items():
                of_weight[:, :, i : i + 3, j : j + 3] = part
        return of_x, of_weight


def _shifted(upstream: Tensor, x: Tensor, weight: Tensor) -> dict[tuple[int, int], Tensor]:
    """Gradients [C, 1, 3, 3] of the weights' four corners, summed over parts of the batch that caches can hold."""
    height, width = x.shape[2:]
    sums = {(i, j): torch.zeros_like(weight, dtype=_at_least_float32(x)) for i in (0, 2) for j in (0, 2)}
    samples = max(1, IN_CACHE // x[0].numel())
    for some, above in zip(x.split(samples), upstream.split(samples), strict=True):
        padded = F.pad(some.permute(0, 2, 3, 1), (0, 0, 2, 2, 2, 2)).permute(0, 3, 1, 2)
        for (i, j), total in sums.items():
            shifted = padded[:, :, i : i + height + 2, j : j + width + 2]
            total += _gradients(above, shifted, weight, padding=0, mask=(False, True))[1]
    return sums


def _at_least_float32(x: Tensor) -> torch.dtype:
    """The precision in which many values of a tensor are summed."""
    return torch.promote_types(x.dtype, torch.float32)


def _gradients(upstream: Tensor, x: Tensor, weight: Tensor, padding: int, mask: tuple[bool, bool]) -> list[Tensor]:
    """Those of input and weight that `mask` asks for; `torch.nn.grad` would forget that the channels are last."""
    plain = ([1, 1], [padding, padding], [1, 1], False, [0, 0], len(weight))
    result: list[Tensor] = torch.ops.aten.convolution_backward(upstream, x, weight, None, *plain, [*mask, False])
    return result
