"""Layers that are more than what PyTorch has: their gradients."""

from __future__ import annotations

import pytest
import torch

from fastnas.models.layers import conv_bn_relu


@pytest.mark.parametrize(("channels", "size"), [(24, 32), (40, 31), (48, 32)])
def test_gradients_of_dilated_weights_in_bfloat16_are_near_those_in_float32(channels: int, size: int) -> None:
    torch.manual_seed(0)
    layer = conv_bn_relu(channels, channels, kernel=3, rate=3)[0].to(memory_format=torch.channels_last)
    x = torch.randn(8, channels, size, size).to(memory_format=torch.channels_last)
    upstream = torch.randn(8, channels, size, size)
    gradients = []
    for enabled in (False, True):
        layer.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            result = layer(x)
        assert result.dtype == (torch.bfloat16 if enabled else torch.float32)
        result.float().backward(upstream)
        gradients.append(layer.weight.grad)
    exact, found = gradients
    assert float((found - exact).abs().max()) < 2e-2 * float(exact.abs().max())
