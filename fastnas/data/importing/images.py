"""Images of a labelling tool, written upright."""

from __future__ import annotations

from pathlib import Path

from fastnas.data.images import as_rgb, opened, orientation, upright

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
        with opened(path, "it") as image:
            turn = orientation(image)
            self._suffix = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}.get(image.format or "", "")
            plain = image.mode == "RGB" and turn == 1
            self.rgb = as_rgb(upright(image))
        self.rotated = turn != 1
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
