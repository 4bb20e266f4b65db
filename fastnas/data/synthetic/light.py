"""Weather, time of day and sensor: how the buffers of a canvas become an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

from fastnas.data.synthetic import textures
from fastnas.data.synthetic.camera import Floats
from fastnas.data.synthetic.canvas import SHADES, Canvas
from fastnas.data.synthetic.primitives import Colour, Material, Primitive


@dataclass(frozen=True)
class Light:
    """The light of one scene; colours are RGB factors, `haze` is per metre, `noise` in 0..255."""

    to_sun: Floats
    sun: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    clouds: float
    haze: float
    noise: float
    grain: tuple[int, int]  # where the sensor's noise is taken from


def sample_light(rng: Random) -> Light:
    """Anything from a hazy dusk to a clear noon, well or badly exposed."""
    height, azimuth = math.radians(rng.uniform(18, 70)), rng.uniform(0, 2 * math.pi)
    to_sun = np.array(
        [math.cos(height) * math.cos(azimuth), math.sin(height), math.cos(height) * math.sin(azimuth)], np.float32
    )
    clear = rng.random()  # 0 overcast .. 1 a clear sky
    warm = rng.uniform(-0.12, 0.22) if height < 0.6 else rng.uniform(-0.12, 0.08)
    exposure = rng.uniform(0.8, 1.35)
    sun, ambient = (0.25 + 0.65 * clear) * exposure, (0.75 - 0.35 * clear) * exposure
    grey, blue = rng.uniform(0.65, 0.85), rng.uniform(0.35, 0.6)
    mixed = [tone * clear + grey * (1 - clear) for tone in (blue, blue + 0.18, 0.9)]
    zenith = (mixed[0], mixed[1], mixed[2])
    horizon = (0.82 + warm, 0.84 + 0.3 * warm, 0.88 - 0.5 * warm)
    return Light(
        to_sun,
        sun=(sun * (1 + warm), sun, sun * (1 - warm)),
        ambient=(ambient * (1 - 0.08 * clear), ambient, ambient * (1 + 0.1 * clear)),
        zenith=_times(zenith, exposure),
        horizon=_times(horizon, exposure),
        clouds=rng.uniform(0.0, 0.9),
        haze=rng.choice((0.0, 0.01, 0.03, 0.06)) * rng.random(),
        noise=rng.uniform(1.0, 6.0),
        grain=(rng.randrange(textures.GRAIN), rng.randrange(textures.GRAIN)),
    )


def _times(colour: Colour, factor: float) -> Colour:
    """The colour at another exposure, at most white."""
    return (min(colour[0] * factor, 1.0), min(colour[1] * factor, 1.0), min(colour[2] * factor, 1.0))


def make_image(canvas: Canvas, light: Light, ground: Material, primitives: list[Primitive]) -> textures.Bytes:
    """The image [3, H, W], RGB in 0..255."""
    height, width = canvas.camera.size
    materials = [ground, ground, *(primitive.material for primitive in primitives)]  # the sky's row is never read
    first = np.array([m.colour for m in materials], np.float32)
    other = np.array([m.other if m.texture else m.colour for m in materials], np.float32)
    mix = np.linspace(0, 255, SHADES, dtype=np.float32)[:, None]
    palette = (first[:, None] * (255 - mix) + other[:, None] * mix).reshape(-1, 3).T.copy()  # [3, primitives * SHADES]

    sky = canvas.inverse_depth == 0
    rows = np.flatnonzero(sky.any(axis=1))
    end = int(rows[-1]) + 1 if len(rows) else 0  # no sky below
    up, cloud = _sky(canvas, light, end)
    clear = np.exp(-light.haze / np.maximum(canvas.inverse_depth, 1e-3)) if light.haze else None
    index = canvas.index.astype(np.intp)  # once, rather than in every channel
    top, left = light.grain
    image = np.empty((3, height, width), np.uint8)
    for channel in range(3):
        plane = palette[channel].take(index, mode="clip")
        plane *= canvas.direct * light.sun[channel] + light.ambient[channel]
        haze = 255 * light.horizon[channel]
        if clear is not None:
            plane -= haze
            plane *= clear
            plane += haze
        if end:
            backdrop = haze + (255 * light.zenith[channel] - haze) * up
            backdrop += (250 * min(1.0, light.horizon[1] + 0.1) - backdrop) * cloud
            np.copyto(plane[:end], backdrop, where=sky[:end])
        plane = cv2.GaussianBlur(plane, (3, 3), 0.6)
        plane += light.noise * textures.film_grain(height, width)[channel, top : top + height, left : left + width]
        np.clip(plane, 0, 255, out=plane)
        image[channel] = plane
    return image


def _sky(canvas: Canvas, light: Light, end: int) -> tuple[Floats, Floats]:
    """For every pixel of the rows up to `end`, how far up the sky it looks, 0..1, and how much cloud is there."""
    x, y = canvas.camera.rays()
    y = y[:end]
    upward_x, upward_y, upward_z = canvas.camera.rotation[:, 1].tolist()  # the world's up in camera coordinates
    upward = upward_x * x + (upward_y * y + upward_z)
    up = np.clip(upward * 1.6, 0, 1)
    if not end or light.clouds < 0.1:
        return up, np.zeros_like(up)
    reach = 0.35 / np.maximum(upward + 0.25, 0.05)
    texture = textures.sample("clouds", reach * x, reach, 2 / canvas.camera.focal)
    cloud = np.clip(texture * np.float32(2.4 / 255) - np.float32(1.1), 0, 1)
    cloud *= light.clouds * np.minimum(up * 4, 1)
    return up, cloud
