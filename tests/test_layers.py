"""The depthwise convolution: the same as PyTorch's, trained another way on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastnas.layers import DepthwiseConv2d


def _results(layer: nn.Conv2d, x: Tensor, upstream: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output, gradient of the input and gradient of the weight, in float64."""
    layer = layer.to(dtype)
    x = x.to(dtype).clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    y.backward(upstream.to(dtype))
    assert x.grad is not None
    assert layer.weight.grad is not None
    return [y.detach().double(), x.grad.double(), layer.weight.grad.double()]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize(
    ("channels", "size", "kernel", "rate"), [(64, (64, 64), 3, 3), (24, (45, 61), 5, 6), (8, (5, 1), 3, 12)]
)
def test_dilated_training_gives_output_and_gradients_of_the_definition(
    channels: int,
    size: tuple[int, int],
    kernel: int,
    rate: int,
    dtype: torch.dtype,
    tolerance: float,
    layout: torch.memory_format,
) -> None:
    torch.manual_seed(0)
    shape = (channels, channels, kernel)
    how = {"padding": rate * (kernel // 2), "dilation": rate, "groups": channels, "bias": False}
    ours, reference = DepthwiseConv2d(*shape, **how), nn.Conv2d(*shape, **how)  # type: ignore[arg-type]
    reference.load_state_dict(ours.state_dict())
    x, upstream = (torch.randn(4, channels, *size).contiguous(memory_format=layout) for _ in range(2))
    expected = _results(reference, x, upstream, torch.float64)
    for got, wanted in zip(_results(ours, x, upstream, dtype), expected, strict=True):
        assert got.shape == wanted.shape
        assert (got - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_inference_is_one_convolution() -> None:
    layer = DepthwiseConv2d(4, 4, 3, padding=2, dilation=2, groups=4).eval()
    exported = torch.export.export(layer, (torch.rand(1, 4, 9, 9),))
    calls = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert calls == [torch.ops.aten.conv2d.default]
