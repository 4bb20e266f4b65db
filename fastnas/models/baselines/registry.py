"""Baselines by name: those of the paper's tables and others that a user might take, on the same encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from fastnas.errors import FastnasError
from fastnas.models.baselines import smp
from fastnas.models.baselines.bisenet import BiSeNet, TwoPaths
from fastnas.models.baselines.deeplab import DeepLab, DeepLabPlus
from fastnas.models.baselines.lraspp import LiteRASPP
from fastnas.models.baselines.refinenet import LightWeightRefineNet, every_width
from fastnas.models.baselines.simple_pose import SimplePose
from fastnas.models.encoder import Encoder, make_encoder
from fastnas.models.network import Network


def _deeplab(encoder: Encoder, outputs: int, rates: Sequence[int]) -> Network:
    return Network(encoder, DeepLab(encoder.channels[-1], rates, outputs))


def _deeplab_plus(encoder: Encoder, outputs: int, separable: bool) -> Network:
    head = DeepLabPlus(encoder.channels[0], encoder.channels[-1], (6, 12, 18), separable, outputs)
    return Network(encoder, head)


def _lraspp(encoder: Encoder, outputs: int) -> Network:
    return Network(encoder, LiteRASPP(encoder.channels[1], encoder.channels[-1], outputs))


def _refinenet(encoder: Encoder, outputs: int, wide: bool) -> Network:
    if not wide:
        encoder = every_width(encoder)
    return Network(encoder, LightWeightRefineNet(encoder.channels, encoder.strides, wide, outputs))


def _simple_pose(encoder: Encoder, outputs: int) -> Network:
    return Network(encoder, SimplePose(encoder.channels[-1], outputs))


def _bisenet(encoder: Encoder, outputs: int) -> Network:
    paths = TwoPaths(encoder)
    return Network(paths, BiSeNet(paths.channels, outputs))


_BASELINES: dict[str, tuple[str, int, Callable[[Encoder, int], Network]]] = {
    "deeplabv3-mbv2": ("mobilenet_v2", 8, partial(_deeplab, rates=())),
    "deeplabv3-aspp-mbv2": ("mobilenet_v2", 16, partial(_deeplab, rates=(6, 12, 18))),
    "deeplabv3plus-mbv2": ("mobilenet_v2", 16, partial(_deeplab_plus, separable=False)),
    "deeplabv3plus-xception65": ("timm/xception65", 16, partial(_deeplab_plus, separable=True)),
    "bisenet-resnet18": ("resnet18", 32, _bisenet),
    "lraspp-mbv2": ("mobilenet_v2", 16, _lraspp),
    "rflw-mbv2": ("mobilenet_v2", 32, partial(_refinenet, wide=False)),
    "rflw-resnet50": ("resnet50", 32, partial(_refinenet, wide=True)),
    "rflw-resnet101": ("resnet101", 32, partial(_refinenet, wide=True)),
    "rflw-resnet152": ("resnet152", 32, partial(_refinenet, wide=True)),
    "simplepose-resnet50": ("resnet50", 32, _simple_pose),
}
"""Name -> encoder, its output stride, and what puts a decoder behind it."""
BASELINES: tuple[str, ...] = (*_BASELINES, *smp.NAMES)
"""The names that `make_baseline` knows."""


def baseline_encoder(name: str) -> str:
    """The encoder that a baseline of this name has.

    Raises:
        FastnasError: there is no such baseline.
    """
    if name not in BASELINES:
        raise FastnasError(f"baseline {name!r} is not one of {', '.join(BASELINES)}")
    return smp.ENCODER if name in smp.NAMES else _BASELINES[name][0]


def make_baseline(name: str, outputs: int, weights: str | Path = "none") -> Network:
    """A baseline by name.

    Args:
        name: one of `BASELINES`.
        outputs: K.
        weights: of its encoder; see `fastnas.models.encoder.make_encoder`.

    Raises:
        FastnasError: there is no such baseline; the weights cannot be had.
        MissingPackage: it is one of the extra `smp`, which is not installed.
    """
    if name in smp.NAMES:
        return smp.make_smp(name, outputs, weights)
    encoder = baseline_encoder(name)
    _, output_stride, assemble = _BASELINES[name]
    return assemble(make_encoder(encoder, weights, output_stride), outputs)
