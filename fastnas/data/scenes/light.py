"""Weather, time of day and sensor: how the buffers of a canvas become a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

from fastnas.data.scenes import textures
from fastnas.data.scenes.camera import Floats
from fastnas.data.scenes.canvas import SHADES, Canvas
from fastnas.data.scenes.parts import Colour, Material, Part, darker


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
    grain: tuple[int, int, int]


def sample_light(rng: Random) -> Light:
    """Anything from a hazy dusk to a clear noon, well or badly exposed."""
    height, azimuth = math.radians(rng.uniform(18, 70)), rng.uniform(0, 2 * math.pi)
    to_sun = np.array(
        [math.cos(height) * math.cos(azimuth), math.sin(height), math.cos(height) * math.sin(azimuth)], np.float32
    )
    clear = rng.random()  # 0 overcast .. 1 a clear sky
    warm = rng.uniform(-0.12, 0.22) if height < 0.6 else rng.uniform(-0.12, 0.08)
    exposure = rng.uniform(0.75, 1.2)
    sun, ambient = (0.25 + 0.65 * clear) * exposure, (0.75 - 0.35 * clear) * exposure
    grey, blue = rng.uniform(0.65, 0.85), rng.uniform(0.35, 0.6)
    zenith = (blue * clear + grey * (1 - clear), (blue + 0.18) * clear + grey * (1 - clear), 0.9 * clear + grey * (1 - clear))
    horizon = (0.82 + warm, 0.84 + 0.3 * warm, 0.88 - 0.5 * warm)
    return Light(
        to_sun,
        sun=(sun * (1 + warm), sun, sun * (1 - warm)),
        ambient=(ambient * (1 - 0.08 * clear), ambient, ambient * (1 + 0.1 * clear)),
        zenith=_times(zenith, exposure),
        horizon=_times(horizon, exposure),
        clouds=rng.uniform(0.0, 0.9),
        haze=rng.choice((0.0, 0.01, 0.03, 0.06)) * rng.random(),
        noise=rng.uniform(1.0, 7.0),
        grain=(rng.randrange(256), rng.randrange(256), rng.randrange(4)),
    )


def _times(colour: Colour, factor: float) -> Colour:
    """The colour at another exposure, at most white."""
    return (min(colour[0] * factor, 1.0), min(colour[1] * factor, 1.0), min(colour[2] * factor, 1.0))


def develop(canvas: Canvas, light: Light, ground: Material, parts: list[Part]) -> textures.Bytes:
    """The picture [3, H, W], RGB in 0..255."""
    height, width = canvas.camera.size
    materials = [ground, ground, *(part.material for part in parts)]  # the sky's row is never read
    first = np.array([m.colour for m in materials], np.float32)
    other = np.array([m.other if m.texture else darker(m.colour, 0.75) for m in materials], np.float32)
    mix = np.linspace(0, 1, SHADES, dtype=np.float32)[:, None]
    palette = (first[:, None] + (other - first)[:, None] * mix).reshape(-1, 3) * 255  # [parts * SHADES, 3]

    sky = canvas.inverse_depth == 0
    clear = np.exp(-light.haze / np.maximum(canvas.inverse_depth, 1e-3))
    up, cloud = _sky(canvas, light)
    image = np.empty((3, height, width), np.uint8)
    y, x, turn = light.grain
    grain = np.rot90(textures.film_grain(), turn, axes=(1, 2))
    for channel in range(3):
        plane = palette[:, channel][canvas.index]
        plane *= canvas.direct * light.sun[channel] + light.ambient[channel]
        haze = 255 * light.horizon[channel]
        plane -= haze
        plane *= clear
        plane += haze
        backdrop = haze + (255 * light.zenith[channel] - haze) * up
        backdrop += (250 * min(1.0, light.horizon[1] + 0.1) - backdrop) * cloud
        np.copyto(plane, backdrop, where=sky)
        plane = cv2.GaussianBlur(plane, (3, 3), 0.6)
        noise = np.resize(grain[channel, y:, x:], plane.shape) if max(height, width) > 256 else None
        plane += light.noise * (grain[channel, y : y + height, x : x + width] if noise is None else noise)
        np.clip(plane, 0, 255, out=plane)
        image[channel] = plane
    return image


def _sky(canvas: Canvas, light: Light) -> tuple[Floats, Floats]:
    """For every pixel, how far up the sky it looks, 0..1, and how much cloud is there [H, W]."""
    camera = canvas.camera
    x, y = camera.rays()
    right, rise, forward = camera.rotation.T  # the world's axes in camera coordinates
    upward = float(rise[0]) * x + (float(rise[1]) * y + float(rise[2]))
    up = np.clip(upward * 1.6, 0, 1)
    reach = 0.35 / (upward + 0.25).clip(0.05)
    texture = textures.sample("clouds", reach * x, reach + 0 * x, 2 / camera.focal)
    cloud = (texture * np.float32(2.4 / 255) - np.float32(1.1)).clip(0, 1) * (light.clouds * np.minimum(up * 4, 1))
    return up, cloud
