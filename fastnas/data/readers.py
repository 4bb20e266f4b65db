"""Readers of masks, depths and lists; every error is one line that names the file."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastnas.data.images import LOSSY, Size, opened, shown_size, upright
from fastnas.errors import FastnasError, first_line
from fastnas.tasks import IGNORE

IdTable = npt.NDArray[np.int16]
"""int16 [256]: stored id -> class id, -1 where the id must not occur."""


def id_table(classes: int, changed: Iterable[tuple[int, int]] = ()) -> IdTable:
    """The table that keeps ids 0 to `classes` - 1 and 255, and maps those of `changed`, pairs (stored, meant)."""
    table = np.full(256, -1, dtype=np.int16)
    table[:classes] = np.arange(classes)
    table[IGNORE] = IGNORE
    for stored, meant in changed:
        table[stored] = meant
    return table


def read_ids(path: Path, table: IdTable) -> npt.NDArray[np.uint8]:
    """The class ids of a one-channel image (grey of any depth, or palette), uint8 [H, W].

    Raises:
        FastnasError: a damaged or coloured image, or an id that `table` does not know.
    """
    with opened(path, f"mask {path}") as image:
        require_lossless(image, f"mask {path}", "class ids")
        if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
            raise FastnasError(
                f"mask {path} has pixels of mode {image.mode}: class ids need one channel, grey or of a palette; "
                "fastnas data import reads masks in colours, and ids stored in three equal channels"
            )
        ids = np.array(upright(image))
    if ids.max(initial=0) > IGNORE or ids.min(initial=0) < 0:
        raise FastnasError(
            f"mask {path} has numbers from {ids.min()} to {ids.max()}: class ids reach from 0 to {IGNORE}"
        )
    return checked_ids(ids.astype(np.uint8, copy=False), table, path)


def checked_ids(ids: npt.NDArray[np.uint8], table: IdTable, path: Path) -> npt.NDArray[np.uint8]:
    """`ids` mapped by `table`; the error for an id out of range names `path`."""
    meant = table[ids]
    if meant.min(initial=0) < 0:
        wrong = ", ".join(str(value) for value in np.unique(ids[meant < 0])[:5])
        known = np.flatnonzero((table >= 0) & (np.arange(256) != IGNORE))
        raise FastnasError(
            f"mask {path} has class ids out of range: {wrong} "
            f"(known are {known.min()} to {known.max()}, and {IGNORE} for pixels to ignore; a folder's mask_map can "
            "give numbers another meaning)"
        )
    return meant.astype(np.uint8)


def require_lossless(image: Image.Image, subject: str, numbers: str) -> None:
    """The pixels of an image file, not yet decoded, are the stored numbers.

    Raises:
        FastnasError: the format changes numbers, or PIL would scale them.
    """
    if image.format in LOSSY:
        raise FastnasError(f"{subject} is a {image.format} file, whose compression changes {numbers}: save it as PNG")
    if image.mode == "L" and any(tile[3] in ("L;2", "L;4") for tile in getattr(image, "tile", ())):
        raise FastnasError(f"{subject} is grey of 2 or 4 bits, which readers scale differently: save it with 8 bits")


def read_label_size(path: Path, label: str) -> Size:
    """(W, H) of an image file of labels, a `mask` or `depth`, from its header alone.

    Raises:
        FastnasError: a damaged file, or a format that changes numbers.
    """
    with opened(path, f"{label} {path}") as image:
        require_lossless(image, f"{label} {path}", "class ids" if label == "mask" else "depths")
        return shown_size(image)


def read_numbers(path: Path) -> npt.NDArray[np.generic]:
    """One stored number for every pixel, [H, W], of a grey image (8 or 16 bits) or a `.npy` file.

    Raises:
        FastnasError: a damaged file, several numbers a pixel, colours, or something else than numbers.
    """
    if path.suffix.lower() == ".npy":
        stored = _read_array(path, "depth")
    else:
        with opened(path, f"depth {path}") as image:
            require_lossless(image, f"depth {path}", "depths")
            if image.mode in ("1", "P", "PA"):
                raise FastnasError(
                    f"depth {path} has pixels of mode {image.mode}: colours or flags, no depths; "
                    "save the numbers as grey of 8 or 16 bits, or as .npy"
                )
            stored = np.array(upright(image))
    if stored.ndim != 2:
        raise FastnasError(f"depth {path} has the shape {list(stored.shape)}: one number for every pixel is needed")
    return stored


def read_logits(path: Path, outputs: int) -> npt.NDArray[np.float32]:
    """A teacher's outputs for a whole image, float32 [`outputs`, h, w], of a `.npy` file.

    Raises:
        FastnasError: a damaged file, or an array of another shape.
    """
    stored = _read_array(path, "teacher's outputs")
    if stored.ndim != 3 or stored.shape[0] != outputs or stored.size == 0:
        raise FastnasError(
            f"teacher's outputs {path} have the shape {list(stored.shape)}: the task needs [{outputs}, h, w]"
        )
    return stored.astype(np.float32)


def _read_array(path: Path, what: str) -> npt.NDArray[np.generic]:
    """An array of numbers; errors name the file as `what`."""
    try:
        stored = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy lets many kinds of errors out for damaged files
        raise FastnasError(f"{what} {path} is damaged, or no array: {first_line(error)}") from error
    if not isinstance(stored, np.ndarray):
        stored.close()
        raise FastnasError(f"{what} {path} is an archive of arrays (.npz): save the one array with numpy.save")
    if stored.dtype.kind not in "uif":
        raise FastnasError(f"{what} {path} is an array of type {stored.dtype}: numbers are needed")
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


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 with its mark; a byte order mark is left out.

    Raises:
        FastnasError: it cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FastnasError(f"{path} cannot be read as text in UTF-8: {error}") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a list file that are not empty.

    Raises:
        FastnasError: no such file, not text, or nothing in it.
    """
    lines = [line for line in map(str.strip, read_text(path).splitlines()) if line]
    if not lines:
        raise FastnasError(f"list {path} is empty: it must name one sample a line")
    return lines


def read_json(path: Path) -> Any:
    """The content of a JSON file; a byte order mark is left out.

    Raises:
        FastnasError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
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
