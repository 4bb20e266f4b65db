"""Depthwise convolutions: the same as PyTorch's, trained another way on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastnas.hardware import has_bfloat16
from fastnas.models.depthwise import DepthwiseConv2d

BFLOAT16 = 1e-2 if has_bfloat16(torch.device("cpu")) else 3e-2
"""Tolerance; without the arithmetic in hardware more is rounded on the way."""


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
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, BFLOAT16)]
)
@pytest.mark.parametrize(
    ("channels", "size", "kernel", "rate"),
    [
        (64, (64, 64), 3, 3),
        (24, (45, 61), 5, 6),
        (8, (5, 1), 3, 12),
        (8, (37, 3), 3, 12),
        (8, (7, 3), 5, 6),
        (8, (18, 17), 5, 6),
        (8, (19, 17), 5, 6),
        (16, (21, 30), 5, 1),
        (8, (2, 1), 5, 1),
    ],
)
def test_training_gives_output_and_gradients_of_the_definition(
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


def test_a_bias_is_added_whatever_the_size() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=4, dilation=4, groups=4)
    ours = DepthwiseConv2d(4, 4, 3, padding=4, dilation=4, groups=4)
    ours.load_state_dict(layer.state_dict())
    for side in (4, 20):
        x = torch.rand(2, 4, side, side)
        assert torch.allclose(ours(x), layer(x), atol=1e-6)


def test_inference_is_one_convolution() -> None:
    layer = DepthwiseConv2d(4, 4, 3, padding=2, dilation=2, groups=4).eval()
    exported = torch.export.export(layer, (torch.rand(1, 4, 9, 9),))
    calls = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert calls == [torch.ops.aten.conv2d.default]


@pytest.mark.parametrize(("rate", "side"), [(1, 16), (6, 16), (6, 20)])
def test_autocast_computes_5x5_in_its_precision(rate: int, side: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(8, 8, 5, padding=2 * rate, dilation=rate, groups=8, bias=False)
    x = torch.randn(2, 8, side, side, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert x.grad.dtype == layer.weight.grad.dtype == torch.float32
    of_weight = layer.weight.grad.clone()
    layer.weight.grad = None
    layer(x).sum().backward()
    assert torch.allclose(of_weight, layer.weight.grad, atol=0.02 * float(of_weight.abs().max()))


@pytest.mark.parametrize("rate", [1, 3, 6])
def test_frozen_weights_and_inputs_get_no_gradient(rate: int) -> None:
    layer = DepthwiseConv2d(8, 8, 5, padding=2 * rate, dilation=rate, groups=8, bias=False)
    layer(torch.rand(1, 8, 9, 9)).sum().backward()
    assert layer.weight.grad is not None
    layer.weight.grad = None
    layer.weight.requires_grad_(False)
    x = torch.rand(1, 8, 9, 9, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None
