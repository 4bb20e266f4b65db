"""Baselines by name: those of the paper's tables, on the same encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from fastnas.errors import FastnasError
from fastnas.models.baselines.deeplab import DeepLab, DeepLabPlus, dilate
from fastnas.models.baselines.refinenet import LightWeightRefineNet, every_width
from fastnas.models.baselines.simple_pose import SimplePose
from fastnas.models.encoder import Encoder, make_encoder
from fastnas.models.network import Network


def _deeplab(encoder: Encoder, outputs: int, stride: int, rates: Sequence[int]) -> Network:
    dilate(encoder, stride)
    return Network(encoder, DeepLab(encoder.channels[-1], rates, outputs))


def _deeplab_plus(encoder: Encoder, outputs: int) -> Network:
    dilate(encoder, 16)
    return Network(encoder, DeepLabPlus(encoder.channels[0], encoder.channels[-1], (6, 12, 18), outputs))


def _refinenet(encoder: Encoder, outputs: int, wide: bool) -> Network:
    if not wide:
        encoder = every_width(encoder)
    return Network(encoder, LightWeightRefineNet(encoder.channels, encoder.strides, wide, outputs))


def _simple_pose(encoder: Encoder, outputs: int) -> Network:
    return Network(encoder, SimplePose(encoder.channels[-1], outputs))


_BASELINES: dict[str, tuple[str, Callable[[Encoder, int], Network]]] = {
    "deeplabv3-mbv2": ("mobilenet_v2", partial(_deeplab, stride=8, rates=())),
    "deeplabv3-aspp-mbv2": ("mobilenet_v2", partial(_deeplab, stride=16, rates=(6, 12, 18))),
    "deeplabv3plus-mbv2": ("mobilenet_v2", _deeplab_plus),
    "rflw-mbv2": ("mobilenet_v2", partial(_refinenet, wide=False)),
    "rflw-resnet50": ("resnet50", partial(_refinenet, wide=True)),
    "rflw-resnet101": ("resnet101", partial(_refinenet, wide=True)),
    "rflw-resnet152": ("resnet152", partial(_refinenet, wide=True)),
    "simplepose-resnet50": ("resnet50", _simple_pose),
}
BASELINES: tuple[str, ...] = tuple(_BASELINES)
"""The names that `make_baseline` knows."""


def baseline_encoder(name: str) -> str:
    """The encoder that a baseline of this name has.

    Raises:
        FastnasError: there is no such baseline.
    """
    if name not in _BASELINES:
        raise FastnasError(f"baseline {name!r} is not one of {', '.join(BASELINES)}")
    return _BASELINES[name][0]


def make_baseline(name: str, outputs: int, weights: str | Path = "none") -> Network:
    """A baseline by name.

    Args:
        name: one of `BASELINES`.
        outputs: K.
        weights: of its encoder; see `fastnas.models.encoder.make_encoder`.

    Raises:
        FastnasError: there is no such baseline; the weights cannot be had.
    """
    encoder = make_encoder(baseline_encoder(name), weights)
    _, assemble = _BASELINES[name]
    return assemble(encoder, outputs)
