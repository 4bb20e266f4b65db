"""Tiling grey textures that every kind of object shares, so that a class is told by its shape and not by its texture.

A texture only says where between a material's two colours a point lies. Each is kept at halved resolutions down to 4
pixels, and is read at the one whose pixels match the image's, so that far surfaces do not flicker.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt

from fastnas.data.synthetic.camera import Floats

Bytes = npt.NDArray[np.uint8]
SIDE = 128
GRAIN = 256
NAMES = (
    "plain", "bands", "bars", "diagonal", "checks", "dots", "bricks", "planks", "plaid", "windows", "grain", "clouds",
    "leaves", "marble",
)  # fmt: skip


def _noise(seed: int, falloff: float, side: int = SIDE) -> Floats:
    """Periodic noise in 0..1 [side, side] whose amplitude falls as frequency ** -falloff."""
    white = np.random.default_rng(seed).standard_normal((side, side))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :]) * side
    spectrum = np.fft.fft2(white) / np.maximum(frequency, 1) ** falloff
    spectrum[0, 0] = 0
    noise = np.fft.ifft2(spectrum).real
    return np.clip(noise / (4.5 * noise.std()) + 0.5, 0, 1).astype(np.float32)


def _pattern(name: str) -> Floats:
    """The texture `name` in 0..1 [SIDE, SIDE]."""
    v, u = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    row = np.floor(v * 4)
    match name:
        case "plain":
            return 0.4 * _noise(1, 1.5)
        case "bands":
            return ((v * 4) % 1 < 0.5) * 1.0
        case "bars":
            return ((u * 4) % 1 < 0.35) * 1.0
        case "diagonal":
            return (((u + v) * 3) % 1 < 0.5) * 1.0
        case "checks":
            return ((np.floor(u * 4) + row) % 2).astype(np.float32)
        case "dots":
            return (np.hypot((u * 4 + row % 2 / 2) % 1 - 0.5, (v * 4) % 1 - 0.5) < 0.28) * 1.0
        case "bricks":
            mortar = ((u * 2 + row % 2 / 2) % 1 < 0.06) | ((v * 4) % 1 < 0.12)
            shade = np.random.default_rng(2).random((4, 2))[
                row.astype(int), np.floor(u * 2 + row % 2 / 2).astype(int) % 2
            ]
            return np.where(mortar, 1.0, 0.35 * shade + 0.25 * _noise(3, 0.8))
        case "planks":
            grain = np.tile(_noise(4, 1.2)[:, :1], (1, SIDE)) * 0.5 + 0.3 * _noise(5, 1.2)
            return np.where((v * 4) % 1 < 0.07, 1.0, grain * (0.7 + 0.3 * (row % 2)))
        case "plaid":
            return 0.5 * ((u * 3) % 1 < 0.4) + 0.5 * ((v * 3) % 1 < 0.4)
        case "windows":
            pane = ((u * 2) % 1 > 0.28) & ((u * 2) % 1 < 0.72) & ((v * 2) % 1 > 0.25) & ((v * 2) % 1 < 0.75)
            return np.where(pane, 0.85 + 0.15 * _noise(6, 1.5), 0.12 * _noise(7, 0.7))
        case "grain":
            return _noise(8, 0.6)
        case "clouds":
            return _noise(9, 1.7)
        case "leaves":
            return cv2.GaussianBlur(_noise(10, 0.9), (0, 0), 1.5, borderType=cv2.BORDER_REFLECT) * 2.2 - 0.6
        case _:
            return np.abs(np.sin(8 * np.pi * (u + 0.6 * _noise(11, 1.8)))).astype(np.float32)


@functools.cache
def levels(name: str) -> tuple[Bytes, ...]:
    """The texture `name` as uint8 squares of SIDE, SIDE / 2, ... 4 pixels."""
    level = np.clip(_pattern(name) * 255, 0, 255).astype(np.uint8)
    found = [level]
    while len(level) > 4:
        half = len(level) // 2
        level = np.asarray(cv2.resize(level, (half, half), interpolation=cv2.INTER_AREA), np.uint8)
        found.append(level)
    return tuple(found)


def sample(name: str, u: Floats, v: Floats, footprint: float) -> Bytes:
    """Texture `name` [h, w] at tile coordinates u ([h, w] or [1, w]) and v ([h, w] or [h, 1]).

    `footprint` is how many tiles one pixel of the image covers.
    """
    pyramid = levels(name)
    level = min(max(round(math.log2(max(footprint, 1e-6) * SIDE)), 0), len(pyramid) - 1)
    places = np.empty((len(v), u.shape[1], 2), np.float32)
    np.multiply(u, SIDE >> level, out=places[..., 0])
    np.multiply(v, SIDE >> level, out=places[..., 1])
    found = cv2.remap(pyramid[level], places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)  # type: ignore[call-overload]
    return found  # noqa: RET504


@functools.cache
def film_grain(height: int, width: int) -> Floats:
    """Standard normal noise [3, GRAIN + height, GRAIN + width]: an image takes its own from somewhere in it."""
    return np.random.default_rng(12).standard_normal((3, GRAIN + height, GRAIN + width), dtype=np.float32)
