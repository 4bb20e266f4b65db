"""Readers of dataset files; every error is one line that names the file."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torchvision import tv_tensors

from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes of files that `read_size` can read."""

IdTable = npt.NDArray[np.int16]
"""int16 [256]: stored id -> class id, -1 where the id must not occur."""


def read_image(path: Path) -> tv_tensors.Image:
    """An image file as uint8 [3, H, W], RGB.

    Raises:
        FastnasError: no such file, no image, or a damaged one.
    """
    with _opened(path) as image:
        pixels = np.array(_decoded(image.convert, "RGB", path=path))
    return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))  # in memory still [H, W, 3], as cv2 wants it


def read_size(path: Path) -> tuple[int, int]:
    """(W, H) of an image file, from its header alone."""
    with _opened(path) as image:
        size: tuple[int, int] = image.size
        return size


def id_table(classes: int, changed: Iterable[tuple[int, int]] = ()) -> IdTable:
    """The table that keeps ids 0 to `classes` - 1 and 255, and maps those of `changed`, pairs (stored, meant)."""
    table = np.full(256, -1, dtype=np.int16)
    table[:classes] = np.arange(classes)
    table[IGNORE] = IGNORE
    for stored, meant in changed:
        table[stored] = meant
    return table


def read_ids(path: Path, table: IdTable) -> npt.NDArray[np.uint8]:
    """The class ids of a one-channel image (grey or palette), uint8 [H, W].

    Raises:
        FastnasError: a damaged or coloured image, or an id that `table` does not know.
    """
    with _opened(path) as image:
        if image.mode not in ("L", "P", "1"):
            raise FastnasError(
                f"mask {path} has pixels of mode {image.mode}: class ids need a grey or palette image of 8 bits"
            )
        ids = _decoded(np.array, image, path=path)
    return checked_ids(ids.astype(np.uint8, copy=False), table, path)


def checked_ids(ids: npt.NDArray[np.uint8], table: IdTable, path: Path) -> npt.NDArray[np.uint8]:
    """`ids` mapped by `table`; the error for an id out of range names `path`."""
    meant = table[ids]
    if meant.min(initial=0) < 0:
        wrong = ", ".join(str(value) for value in np.unique(ids[meant < 0])[:5])
        known = np.flatnonzero((table >= 0) & (np.arange(256) != IGNORE))
        raise FastnasError(
            f"mask {path} has class ids out of range: {wrong} "
            f"(known are {known.min()} to {known.max()}, and {IGNORE} for pixels to ignore)"
        )
    return meant.astype(np.uint8)


def read_numbers(path: Path) -> npt.NDArray[np.generic]:
    """One stored number for every pixel, [H, W], of a grey image (8 or 16 bits) or a `.npy` file.

    Raises:
        FastnasError: a damaged file, or several numbers a pixel.
    """
    if path.suffix.lower() == ".npy":
        try:
            stored: npt.NDArray[np.generic] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise FastnasError(f"depth {path} is damaged, or no array: {error}") from error
    else:
        with _opened(path) as image:
            stored = _decoded(np.array, image, path=path)
    if stored.ndim != 2:
        raise FastnasError(f"depth {path} has the shape {list(stored.shape)}: one number for every pixel is needed")
    return stored


def read_depth(path: Path, unit: float) -> npt.NDArray[np.float32]:
    """The numbers of `read_numbers` as metres, see `to_metres`."""
    return to_metres(read_numbers(path), unit)


def to_metres(stored: npt.NDArray[np.generic], unit: float, offset: float = 0.0) -> npt.NDArray[np.float32]:
    """Stored numbers as metres, float32; what is not above 0 or not finite is missing and becomes 0.

    Args:
        stored: the numbers.
        unit: metres per step of the stored number.
        offset: metres added to every depth that is present.
    """
    numbers = stored.astype(np.float32)
    present = np.isfinite(numbers) & (numbers > 0)
    return np.where(present, numbers * np.float32(unit) + np.float32(offset), np.float32(0))


def read_lines(path: Path) -> list[str]:
    """The lines of a list file that are not empty.

    Raises:
        FastnasError: no such file, not text, or nothing in it.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FastnasError(f"list {path} cannot be read: {error}") from error
    lines = [line for line in lines if line]
    if not lines:
        raise FastnasError(f"list {path} is empty: it must name one sample a line")
    return lines


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FastnasError(f"{path} cannot be read as JSON: {error}") from error


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file (up to version 7.2), structs as objects with attributes, single cells unpacked."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        values: dict[str, Any] = loadmat(path, squeeze_me=True, struct_as_record=False)
    except (MatReadError, OSError, ValueError, TypeError, NotImplementedError) as error:
        raise FastnasError(f"{path} cannot be read as a MATLAB file: {error}") from error
    return values


def require_files(paths: Iterable[Path], what: str) -> None:
    """All `paths` exist; one look into each folder instead of one at each file.

    Raises:
        FastnasError: some do not; it names the first as `what`.
    """
    wanted: dict[Path, list[str]] = defaultdict(list)
    for path in paths:
        wanted[path.parent].append(path.name)
    missing: list[Path] = []
    for folder, names in wanted.items():
        present = set(os.listdir(folder)) if folder.is_dir() else set()
        missing += [folder / name for name in names if name not in present]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise FastnasError(f"{what} {missing[0]} is missing{more}: add it, or take its sample off the list")


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise FastnasError(f"{path} is missing") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what PIL raises
        raise FastnasError(f"{path} is not an image, or is damaged: {error}") from error


def _decoded(decode: Any, *values: Any, path: Path) -> Any:
    """`decode(*values)`, which reads the pixels and so finds damage."""
    try:
        return decode(*values)
    except (OSError, SyntaxError, ValueError) as error:
        raise FastnasError(f"{path} is damaged: {error}") from error
