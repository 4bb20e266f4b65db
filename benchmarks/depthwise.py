"""Training dilated depthwise convolutions as plain ones on a CPU. Run: python benchmarks/depthwise.py

`fastnas.models.depthwise.DepthwiseConv2d` against PyTorch's own dilated convolution: forward and backward of a batch
of 8, both taking turns; the median time of each, and how far its weight gradient is from float64's, relative to the
largest.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from fastnas.models.depthwise import DepthwiseConv2d

CASES = (
    *((64, 64, 5, 1), (64, 64, 3, 3), (64, 64, 5, 6), (64, 32, 3, 3), (960, 32, 3, 2)),
    *((64, 16, 5, 6), (64, 8, 5, 6), (64, 8, 3, 3), (64, 4, 3, 3)),
)
"""Channels, side, kernel and rate; that of 960 channels is of MobileNet-v2 dilated to an output stride of 8."""


def step(layer: nn.Conv2d, x: Tensor, upstream: Tensor) -> float:
    """Processor seconds of forward and backward, so that other programs count little."""
    layer.weight.grad = x.grad = None
    began = time.process_time()
    layer(x).backward(upstream)
    return time.process_time() - began


def error(layer: nn.Conv2d, x: Tensor, upstream: Tensor) -> float:
    """Largest difference of the weight gradient that `layer` has now to that in float64, relative to the largest."""
    found = layer.weight.grad
    exact = nn.Conv2d(
        layer.in_channels, layer.in_channels, layer.kernel_size, padding=layer.padding, dilation=layer.dilation,
        groups=layer.groups, bias=False, dtype=torch.float64,
    )  # fmt: skip
    exact(x.detach().double()).backward(upstream.double())
    assert found is not None
    assert exact.weight.grad is not None
    return float((found.double() - exact.weight.grad).abs().max() / exact.weight.grad.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds, channels last")
    for dtype in (torch.float32, torch.bfloat16):
        for channels, side, kernel, rate in CASES:
            how = {"padding": rate * (kernel // 2), "dilation": rate, "groups": channels, "bias": False}
            layers = [kind(channels, channels, kernel, **how).to(dtype) for kind in (nn.Conv2d, DepthwiseConv2d)]
            x, upstream = (
                torch.randn(8, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
                for _ in range(2)
            )
            x.requires_grad_()
            times: list[list[float]] = [[], []]
            for turn in range(options.rounds + 1):
                for layer, own in zip(layers, times, strict=True):
                    seconds = step(layer, x, upstream)
                    if turn:  # the first round warms up
                        own.append(seconds)
            torchs, ours = (statistics.median(own) * 1e3 for own in times)
            wrong = " and ".join(f"{error(layer, x, upstream):.0e}" for layer in layers)
            print(
                f"{str(dtype)[6:]:8} {channels:3} channels {side}x{side}, {kernel}x{kernel} rate {rate}: "
                f"{torchs:6.1f} ms against {ours:5.1f} ms, {torchs / ours:4.1f} times; error {wrong}"
            )


if __name__ == "__main__":
    main()
