"""Parameters and multiply-adds of a network and of its modules, without running it.

Multiply-adds are those of convolutions and matrix products, as in the paper's Table 1; a multiply with its add is one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastnas.errors import FastnasError
from fastnas.models.decoder import Decoder
from fastnas.models.encoder import MOBILENET_V2_CHANNELS, PublicMobileNetV2
from fastnas.models.genotype import ENCODER_OUTPUTS
from fastnas.models.network import Network


@dataclass(frozen=True)
class ModuleCounts:
    """The counts of one module: its dotted name, parameters, and multiply-adds at the counted resolution."""

    name: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Counts:
    """The counts of a network for one image of `resolution` (height, width).

    Attributes:
        output: height and width of the logits.
        parts: encoder and decoder, each followed by the modules inside it.
    """

    resolution: tuple[int, int]
    parameters: int
    multiply_adds: int
    output: tuple[int, int]
    parts: tuple[ModuleCounts, ...]


def count(network: Network, resolution: tuple[int, int], *, training: bool = False) -> Counts:
    """Count a network as it is evaluated, or, with `training`, with its auxiliary heads.

    Args:
        network: counted on a weightless copy; it is not changed.
        resolution: height and width of the image in pixels, at least 1.

    Raises:
        FastnasError: the network refuses the resolution.
    """
    shadow = copy.deepcopy(network).to("meta").train(training)
    if not training and isinstance(shadow.decoder, Decoder):
        shadow.decoder.auxiliary = nn.ModuleList()
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            # Two images, since batch norm cannot train on a single pooled pixel; the count is halved.
            result = shadow(torch.empty(2, 3, *resolution, device="meta"))
    except RuntimeError as error:
        raise FastnasError(f"resolution {resolution[0]}x{resolution[1]} does not fit the network: {error}") from error
    logits = result[0] if isinstance(result, list) else result
    operations = {name: sum(kinds.values()) // 4 for name, kinds in counter.get_flop_counts().items()}
    root = type(shadow).__name__
    parts = (
        ModuleCounts(name, _parameters(module), operations.get(f"{root}.{name}", 0)) for name, module in _parts(shadow)
    )
    return Counts(
        resolution=resolution,
        parameters=_parameters(shadow),
        multiply_adds=operations.get(root, 0),
        output=(logits.shape[2], logits.shape[3]),
        parts=tuple(part for part in parts if part.parameters or part.multiply_adds),
    )


def _parts(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """Encoder and decoder, each followed by the modules inside it; lists and dictionaries of modules are opened."""
    for part in ("encoder", "decoder"):
        module = network.get_submodule(part)
        yield part, module
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList | nn.ModuleDict):
                yield from ((f"{part}.{name}.{key}", item) for key, item in child.named_children())
            else:
                yield f"{part}.{name}", child


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@dataclass(frozen=True)
class Difference:
    """A module that the public definition of the paper's networks has and ours leaves out, with its cost."""

    what: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class PublicCounts:
    """The counts of the public definition: ours and the differences."""

    parameters: int
    multiply_adds: int
    differences: tuple[Difference, ...]


def count_public(network: Network, counts: Counts) -> PublicCounts:
    """What the public definition counts instead of `counts`, for torchvision's encoders and cells without `zero`.

    It adapts encoder outputs that nothing reads, and its MobileNet-v2 has a 1x1 convolution of 32 to 32 channels before
    the first depthwise one, which torchvision's (and the MobileNet-v2 paper's Table 2, at expansion 1) does not have.
    """
    decoder, encoder = network.decoder, network.encoder

    def convolution(what: str, inputs: int, outputs: int, stride: int) -> Difference:
        pixels = math.prod(-(-side // stride) for side in counts.resolution)
        return Difference(what, inputs * outputs + 2 * outputs, inputs * outputs * pixels)  # 2: of batch norm

    differences = []
    if encoder.channels == MOBILENET_V2_CHANNELS and not isinstance(encoder, PublicMobileNetV2):
        differences.append(convolution("1x1 convolution in MobileNet-v2's first block", 32, 32, stride=2))
    if isinstance(decoder, Decoder):
        differences += [
            convolution(
                f"adapter of encoder output {i}",
                encoder.channels[i],
                decoder.classifier.in_channels,
                encoder.strides[i],
            )
            for i in range(ENCODER_OUTPUTS)
            if str(i) not in decoder.adapters
        ]
    return PublicCounts(
        counts.parameters + sum(difference.parameters for difference in differences),
        counts.multiply_adds + sum(difference.multiply_adds for difference in differences),
        tuple(differences),
    )
