"""Small networks for the tests of `fastnas.deploy`, with batch norms that a mistake cannot hide behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fastnas.models.decoder import Decoder
from fastnas.models.encoder import Encoder
from fastnas.models.genotype import Genotype
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO


def seeds(quick: int, all_of_them: int) -> list[Any]:
    """Parameters 0 to `all_of_them`, of which those from `quick` on are slow."""
    return [seed if seed < quick else pytest.param(seed, marks=pytest.mark.slow) for seed in range(all_of_them)]


def unsettle(network: Network, seed: int = 0) -> Network:
    """Batch norms as after training: statistics, scales and shifts all different from the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.3, 1, generator=generator)
            module.weight.data.uniform_(0.7, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.data.normal_(0, 0.3, generator=generator)
    return network.eval()


def unsettled(spec: ModelSpec) -> Network:
    """The network of a description, the same every time, as if it had been trained."""
    torch.manual_seed(0)
    network = build(spec)
    unsettle(network)
    return network


TOY = "toy"
"""The name of `toy_encoder` in the tests of `fastnas.deploy`."""
LIGHT = "[[[3, 3], [3, 2], [3, 1]], [0, [0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9]]]"
"""A genotype of few operators: with the toy encoder it is exported in a quarter of the time of the paper's."""


def toy_encoder() -> Encoder:
    """Four features of strides 4 to 32, one convolution each; the last linear, as MobileNet-v2's are."""

    def stage(inputs: int, outputs: int, stride: int, linear: bool = False) -> nn.Module:
        first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        layers = [first, nn.BatchNorm2d(outputs), nn.ReLU6()]
        if linear:
            layers += [nn.Conv2d(outputs, outputs // 2, 1, bias=False), nn.BatchNorm2d(outputs // 2)]
        return nn.Sequential(*layers)

    stem = nn.Sequential(stage(3, 6, 2), stage(6, 8, 2))
    return Encoder([stem, stage(8, 8, 2), stage(8, 12, 2), stage(12, 64, 2, linear=True)], (8, 8, 12, 32))


def toy_network(genotype: Genotype, outputs: int = 5, channels: int = 8, repeats: int = 1, seed: int = 0) -> Network:
    """A genotype on the toy encoder; its auxiliary heads must leave no trace."""
    torch.manual_seed(seed)
    encoder = toy_encoder()
    network = Network(encoder, Decoder(genotype, encoder.channels, channels, repeats, outputs, "cell"))
    unsettle(network, seed)
    return network


def ill_conditioned(offset: float) -> Network:
    """Its output is of small differences of values around an offset: the larger that is, the more is rounded away."""
    network = toy_network(ZOO["arch1"])
    weights = network.state_dict()
    weights["decoder.collect.1.bias"] += offset
    weights["decoder.classifier.weight"] -= weights["decoder.classifier.weight"].mean(1, keepdim=True)
    weights["decoder.classifier.bias"].zero_()
    network.load_state_dict(weights)
    return network


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
