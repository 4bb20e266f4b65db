"""Image files as RGB of 8 bits, upright as a camera shows them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from fastnas.errors import FastnasError

LONGEST_SIDE = 32_767
"""Pixels: OpenCV and PIL's JPEG writer go no further."""

QUALITY = 95
"""Of JPEG files that must be written anew: rotated or in other colours."""


class UprightImage:
    """An image file, decoded.

    Attributes:
        path: the file.
        rgb: its pixels, upright.
        rotated: its EXIF orientation is not the usual one.

    Raises:
        FastnasError: it is damaged, too large, or of a kind whose range of values is not known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    if max(image.size) > LONGEST_SIDE:
                        raise FastnasError(f"it is {image.width}x{image.height}: a side may have {LONGEST_SIDE} pixels")
                    orientation = _orientation(image)
                    image.load()
                    self.rgb = as_rgb(ImageOps.exif_transpose(image) if orientation != 1 else image)
                    plain = image.mode == "RGB" and orientation == 1
                    self._suffix = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}.get(image.format or "", "")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what PIL raises
            raise FastnasError(f"it cannot be read: {error}") from error
        self.rotated = orientation != 1
        self._copied = plain and bool(self._suffix)

    @property
    def suffix(self) -> str:
        """Of the file that `save` writes."""
        return self._suffix or ".png"

    def save(self, target: Path) -> None:
        """Write the pixels: the same bytes where the file is RGB and upright, else JPEG as JPEG and the rest as PNG."""
        if self._copied:
            target.write_bytes(self.path.read_bytes())
        elif self._suffix == ".jpg":
            self.rgb.save(target, quality=QUALITY, subsampling=0)
        else:
            self.rgb.save(target)


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB of 8 bits: 16 bits are scaled by 65535, floats reach from 0 to 1.

    Raises:
        FastnasError: values out of range.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        largest = 1 if image.mode == "F" else 65535
        if not (values.min() >= 0 and values.max() <= largest):  # NaN is neither
            raise FastnasError(
                f"its values reach from {values.min():g} to {values.max():g}: "
                f"an image of mode {image.mode} must lie within 0 and {largest}"
            )
        return Image.fromarray(np.round(values * (255 / largest)).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that could be read."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # PIL's reader lets every kind of error out for damaged metadata; the pixels may be whole
        return 1
    return found if found in range(1, 9) else 1
