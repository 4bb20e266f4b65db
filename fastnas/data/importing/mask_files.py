"""Masks as image files: class ids or colours for every pixel, and the images they belong to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastnas.data.images import Note, Size, opened, upright
from fastnas.data.importing.export import Ids, Label, LabelledImage, Log
from fastnas.data.importing.source import Source, split_of_folders
from fastnas.data.readers import require_lossless
from fastnas.errors import FastnasError
from fastnas.tasks import Colour

SUFFIX = re.compile(r"[_-](?:masks?|labels?|seg|segmentation|gt|labelIds|L)$", re.IGNORECASE)
"""What tools add to an image's name for its mask."""


@dataclass(frozen=True)
class IndexMask(Label):
    """A mask of stored numbers.

    Attributes:
        path: the file.
        meaning: stored number -> class id.
    """

    path: Path
    meaning: Mapping[int, int]

    def ids(self, size: Size, note: Note) -> Ids:
        """The class ids of the stored numbers."""
        stored = read_indices(self.path)
        _require_size(stored, size)
        table = np.full(256, -1, dtype=np.int16)
        table[list(self.meaning)] = list(self.meaning.values())
        ids = table[stored]
        if ids.min() < 0:
            wrong = ", ".join(str(value) for value in np.unique(stored[ids < 0])[:5])
            known = ", ".join(str(value) for value in sorted(self.meaning)[:40])
            raise FastnasError(f"mask {self.path.name} has numbers that are no class: {wrong} (known are {known})")
        return ids.astype(np.uint8)


@dataclass(frozen=True)
class ColourMask(Label):
    """A mask of colours, in RGB or by a palette.

    Attributes:
        path: the file.
        meaning: colour -> class id.
    """

    path: Path
    meaning: Mapping[Colour, int]

    def ids(self, size: Size, note: Note) -> Ids:
        """The class ids of the colours."""
        stored = read_colours(self.path)
        _require_size(stored, size)
        ids = np.full(stored.shape, -1, dtype=np.int16)
        for colour, class_id in self.meaning.items():
            ids[stored == packed(colour)] = class_id
        unknown = ids < 0
        if unknown.any():
            first = int(stored[unknown][0])
            raise FastnasError(
                f"mask {self.path.name} has {int(unknown.sum())} pixels of colours that are no class, "
                f"such as {colour_text(first)}"
            )
        return ids.astype(np.uint8)


def read_indices(path: Path) -> Ids:
    """The numbers of a mask, uint8 [H, W]: grey of up to 8 bits or a palette's indices; grey may be stored as RGB.

    Raises:
        FastnasError: damaged, coloured, or compressed with loss.
    """
    image = _decoded(path)
    stored = np.asarray(image)
    if image.mode in ("RGB", "RGBA", "LA"):
        if stored.shape[2] in (2, 4) and stored[..., -1].min() < 255:
            raise FastnasError(f"mask {path.name} is transparent in parts: its numbers cannot be told")
        stored = stored[..., : 1 if image.mode == "LA" else 3]
        if (stored != stored[..., :1]).any():
            first = "; ".join(colour_text(number) for number in np.unique(read_colours(path))[:8].tolist())
            raise FastnasError(
                f"mask {path.name} is coloured ({first}): give --colours FILE, lines of r g b and a class"
            )
        stored = stored[..., 0]
    elif image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise FastnasError(f"mask {path.name} has pixels of mode {image.mode}: numbers of 8 bits are needed")
    if stored.min() < 0 or stored.max() > 255:
        raise FastnasError(f"mask {path.name} has numbers up to {stored.max()}: class ids reach to 255")
    return stored.astype(np.uint8)


def read_colours(path: Path) -> npt.NDArray[np.int32]:
    """The colours of a mask, each as one number (see `packed`), [H, W].

    Raises:
        FastnasError: damaged, or compressed with loss.
    """
    image = _decoded(path)
    if image.mode not in ("RGB", "RGBA", "P", "L", "1", "LA"):
        raise FastnasError(f"mask {path.name} has pixels of mode {image.mode}: colours of 8 bits are needed")
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def packed(colour: Colour) -> int:
    """A colour as one number."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def colour_text(number: int) -> str:
    """The colour of `packed` as `r,g,b`."""
    return f"{number >> 16},{number >> 8 & 255},{number & 255}"


def is_palette(path: Path) -> bool:
    """The mask has a palette.

    Raises:
        FastnasError: it is no image.
    """
    with opened(path, f"mask {path.name}") as image:
        return image.mode == "P"


def _decoded(path: Path) -> Image.Image:
    """A mask as it is shown."""
    subject = f"mask {path.name}"
    with opened(path, subject) as image:
        require_lossless(image, subject, "class ids")
        return upright(image)


def _require_size(stored: npt.NDArray[np.generic], size: Size) -> None:
    height, width = stored.shape
    if (width, height) != size:
        turned = ", as a camera shows it" if (height, width) == size else ""
        raise FastnasError(f"its mask is {width}x{height}, but the image is {size[0]}x{size[1]}{turned}")


def pair_masks(source: Source, masks: Iterable[Path], log: Log, used: set[Path]) -> list[tuple[Path, Path]]:
    """Image and mask of one name; where several images have it, that of the most similar folder.

    Masks without an image go to `log`; masks and their images to `used`.
    """
    masks = list(masks)
    used.update(masks)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in source.images:
        if image not in used:
            by_stem[image.stem].append(image)
    pairs: dict[Path, Path] = {}
    for mask in masks:
        found = by_stem.get(mask.stem) or by_stem.get(SUFFIX.sub("", mask.stem)) or []
        shared = [_shared_parts(source.relative(mask), source.relative(image)) for image in found]
        best = [image for image, count in zip(found, shared, strict=True) if count == max(shared)]
        used.update(best)
        if not best:
            log.dropped.append(f"mask {source.relative(mask)}: its image is missing")
        elif len(best) > 1:
            log.dropped.append(f"mask {source.relative(mask)}: several images have its name")
        elif best[0] in pairs:
            log.dropped.append(f"mask {source.relative(mask)}: {source.relative(best[0])} has another mask")
        else:
            pairs[best[0]] = mask
    return list(pairs.items())


def _shared_parts(one: str, other: str) -> int:
    """How many folders of two paths have the same name, at whatever depth."""
    return len(set(one.split("/")[:-1]) & set(other.split("/")[:-1]))


def labelled(source: Source, image: Path, label: Label, split: str | None = None) -> LabelledImage:
    """An image and its mask, in the split that is given or that its folders tell."""
    return LabelledImage(image, label, split or split_of_folders(source.relative(image)))
