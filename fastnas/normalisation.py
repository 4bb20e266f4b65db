"""The normalisation of a network's input."""

from __future__ import annotations

from typing import NamedTuple

RGB = tuple[float, float, float]


class Normalisation(NamedTuple):
    """(pixel / 255 - mean) / std, for each of R, G and B."""

    mean: RGB
    std: RGB

    def conversion(self, other: Normalisation) -> tuple[RGB, RGB]:
        """Scale and shift, by channel, from images of this normalisation to those of another."""
        (r, g, b), (x, y, z) = zip(*(_conversion(*channel) for channel in zip(*self, *other, strict=True)), strict=True)
        return (r, g, b), (x, y, z)


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Of the images that pretrained encoders have seen."""


def _conversion(mean: float, std: float, other_mean: float, other_std: float) -> tuple[float, float]:
    return std / other_std, (mean - other_mean) / other_std
