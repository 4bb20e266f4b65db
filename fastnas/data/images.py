"""The one reader of image files: RGB of 8 bits, upright as a camera shows them.

Labels are in the frame that is shown, so every size is that after the EXIF orientation.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, TiffImagePlugin
from torchvision import tv_tensors

from fastnas.errors import FastnasError, first_line

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes of image files."""

LONGEST_SIDE = 32_000
"""Pixels: OpenCV warps up to 32,766, and networks pad to a multiple of their stride."""

LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF")
"""PIL's names of formats whose compression changes numbers: none for class ids or depths."""

CLUTTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
"""Files and folders, in lower case, that file managers leave behind, beside hidden ones (`.DS_Store`, `._x.jpg`)."""

Size = tuple[int, int]
Note = Callable[[str], None]
"""Takes a line about what was changed."""


def ignore_note(note: str) -> None:
    """A `Note` for those whom the changes do not concern."""


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path) -> tv_tensors.Image:
    """An image file as uint8 [3, H, W], RGB, upright.

    Raises:
        FastnasError: no such file, no image, a damaged or too large one, or values of unknown range.
    """
    with opened(path) as image:
        pixels = np.array(as_rgb(upright(image), str(path)))
    return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))  # in memory still [H, W, 3], as cv2 wants it


def read_size(path: Path) -> Size:
    """(W, H) of an image file as it is shown, from its header alone."""
    with opened(path) as image:
        return shown_size(image)


def read_orientation(path: Path) -> int:
    """The EXIF orientation of an image file, 1 to 8, from its header alone."""
    with opened(path) as image:
        return orientation(image)


@contextmanager
def opened(path: Path, subject: str | None = None) -> Iterator[Image.Image]:
    """An image file as PIL opens it, its pixels not yet decoded.

    Args:
        path: the file.
        subject: what errors call it; its path where not given.

    Raises:
        FastnasError: no such file, no image, a damaged or too large one; also while the pixels are read within.
    """
    subject = subject or str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of size and damaged metadata in lines of its own
            with Image.open(path) as image:
                if max(image.size) > LONGEST_SIDE:
                    raise FastnasError(
                        f"{subject} is {image.width}x{image.height}: a side may have at most {LONGEST_SIDE} pixels, "
                        "cut it into tiles"
                    )
                yield image
    except FastnasError:
        raise
    except FileNotFoundError as error:
        raise FastnasError(f"{subject} is missing") from error
    except Image.DecompressionBombError as error:
        pixels, limit = re.findall(r"\d+", str(error))[:2]
        raise FastnasError(
            f"{subject} has {pixels} pixels: an image may have at most {limit}, cut it into tiles"
        ) from error
    except Exception as error:  # PIL lets every kind of error out for damaged files
        raise FastnasError(f"{subject} is not an image, or is damaged: {first_line(error)}") from error


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, of an image whose pixels are not yet decoded; 1 where there is none.

    That which OpenCV follows in the camera: neither one in XMP, nor one that a PNG file has after its pixels.
    """
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            found = image.tag_v2.get(ExifTags.Base.Orientation, 1)
        elif "exif" in image.info:
            exif = Image.Exif()
            exif.load(image.info["exif"])
            found = exif.get(ExifTags.Base.Orientation, 1)
        else:
            return 1
    except Exception:  # for damaged metadata too; the pixels may be whole
        return 1
    return found if found in range(1, 9) else 1


def shown_size(image: Image.Image) -> Size:
    """(W, H) of an image as it is shown."""
    turned = orientation(image) >= 5 and not isinstance(image, TiffImagePlugin.TiffImageFile)
    return image.size[::-1] if turned else image.size


def upright(image: Image.Image) -> Image.Image:
    """The image as it is shown, decoded; PIL turns TIFF files itself."""
    turn = None if isinstance(image, TiffImagePlugin.TiffImageFile) else _TURNS.get(orientation(image))
    image.load()
    return image if turn is None else image.transpose(turn)


def as_rgb(image: Image.Image, subject: str = "it") -> Image.Image:
    """An image of any mode as RGB of 8 bits; transparency is left out.

    16 bits are scaled by 65535. Integers of 32 bits and floats have no range of their own: theirs is that of the
    smallest known one that holds all values, 255 or 65535 for integers, 1 or 255 for floats.

    Raises:
        FastnasError: values out of range; it calls the image `subject`.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values, largest = _numbers(image, subject)
        return Image.fromarray(np.round(values * (255 / largest)).astype(np.uint8)).convert("RGB")
    if image.mode == "La":  # PIL has no direct way
        image = image.convert("LA")
    return image.convert("RGB")


def _numbers(image: Image.Image, subject: str) -> tuple[np.ndarray[Any, Any], int]:
    """The values of an image of mode I, I;16 or F, and their largest possible one."""
    values = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode.startswith("I;16"):
        largest = 4095 if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else 65535
    elif image.format == "PPM" and image.mode == "I":
        largest = 65535
    else:
        ranges = (1, 255) if image.mode == "F" else (255, 65535)
        lowest, highest = values.min(), values.max()
        if not (lowest >= 0 and highest <= ranges[-1]):  # NaN is neither
            raise FastnasError(
                f"{subject} has values from {lowest:g} to {highest:g}: an image of mode {image.mode} must lie within "
                f"0 and {ranges[0]}, or 0 and {ranges[1]}; save it with 8 or 16 bits"
            )
        largest = next(limit for limit in ranges if highest <= limit)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # 0 is white, which PIL overlooks for these modes
        values = largest - values
    return values, largest


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by a file manager: never a sample."""
    return name.startswith(".") or name.lower() in CLUTTER


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, sorted, without hidden ones."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not is_clutter(path.name)
    )


def fit(labelled: Size, size: Size, note: Note) -> Size:
    """The size from which a label's coordinates are scaled: `labelled`, if it has the aspect of the image.

    Args:
        labelled: (W, H) that the label notes for its image.
        size: (W, H) of the image as it is shown.
        note: takes a line about the scaling.

    Raises:
        FastnasError: it has another aspect.
    """
    if labelled == size:
        return size
    if abs(labelled[0] * size[1] / labelled[1] - size[0]) >= 1:
        turned = ", as a camera shows it" if labelled == size[::-1] else ""
        raise FastnasError(
            f"it was labelled as {labelled[0]}x{labelled[1]}, but the image is {size[0]}x{size[1]}{turned}"
        )
    note(f"labels scaled from {labelled[0]}x{labelled[1]} to {size[0]}x{size[1]}")
    return labelled


def noted_size(width: Any, height: Any) -> Size | None:
    """The size that a label file notes; None where it notes none.

    Raises:
        FastnasError: it is no size.
    """
    if width is None and height is None:
        return None
    if type(width) is int and type(height) is int and width > 0 and height > 0:
        return width, height
    raise FastnasError(f"its size is noted as {width!r:.20} x {height!r:.20}: two whole numbers above 0 are needed")
