"""A folder of images and one of masks: class ids are guessed from the numbers that occur."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastnas.data.importing.classes import number_classes
from fastnas.data.importing.export import Export, Log
from fastnas.data.importing.mask_files import IndexMask, labelled, pair_masks, read_indices
from fastnas.data.importing.source import Source, listed_splits
from fastnas.data.progress import Track
from fastnas.data.readers import read_text
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE

TITLE = "images and masks"

FOLDERS = {"mask", "masks", "label", "labels", "annotation", "annotations", "gt", "groundtruth", "ground_truth", "seg",
           "segmentation", "segmentations", "trainannot", "valannot", "testannot", "annotations_png"}  # fmt: skip
"""Names of folders, in lower case, that hold masks."""


def found(source: Source) -> bool:
    """A folder with a name for masks that holds images, and images elsewhere."""
    masks = mask_files(source)
    return bool(masks) and len(masks) < len(source.images)


def mask_files(source: Source) -> list[Path]:
    """The images in a folder with a name for masks."""
    return [p for p in source.images if FOLDERS & {part.lower() for part in p.relative_to(source.root).parts[:-1]}]


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """Masks of class ids, of 0 and 255, or of any other few numbers."""
    masks = mask_files(source)
    if not masks:
        raise FastnasError(f"{source.root} has no folder of masks, such as masks/ beside images/")
    used: set[Path] = set()
    pairs = pair_masks(source, masks, log, used)
    stored: set[int] = set()
    readable = []
    for image, mask in track(pairs, "reading masks"):
        try:
            stored |= set(np.flatnonzero(np.bincount(read_indices(mask).ravel(), minlength=256)).tolist())
            readable.append((image, mask))
        except FastnasError as error:
            log.dropped.append(f"{source.relative(image)}: {error}")
    if not stored:
        raise FastnasError(log.dropped[0] if log.dropped else f"{source.root} has no mask with an image of its name")

    names, guessed = guess_classes(stored, _listed_names(source))
    classes = number_classes(names, source.root, add_background=False)
    shown = ", ".join(f"{number} is {'ignored' if i == IGNORE else names[i]}" for number, i in guessed.items())
    log.notes.append(f"class ids guessed from the numbers in the masks: {shown} (names can be changed in dataset.json)")
    meaning = {number: IGNORE if i == IGNORE else classes.ids[names[i]] for number, i in guessed.items()}
    export = Export(classes.task(), [], used)
    splits = listed_splits(source)
    export.samples += [
        labelled(source, image, IndexMask(mask, meaning), splits.get(image.stem)) for image, mask in readable
    ]
    return export


def guess_classes(stored: set[int], names: list[str]) -> tuple[list[str], dict[int, int]]:
    """Class names, and the class id of every number that occurs in masks.

    0 and 255 alone are two classes. Numbers that could be ids (0, 1, 2 and so on without large gaps) are ids, and 255
    beside them is ignored. Any other numbers, such as levels of grey, are classes in their order.

    Args:
        stored: the numbers.
        names: of the ids from 0, as a file beside the masks lists them; may be empty.

    Raises:
        FastnasError: more numbers than names.
    """
    ids = sorted(stored - {IGNORE})
    if stored <= {0, IGNORE}:
        count, meaning = 2, {0: 0, IGNORE: 1}
    elif ids and ids[-1] < max(2 * len(ids), len(names)):
        count = max(ids[-1] + 1, len(names))
        meaning = {i: i for i in range(count)} | {IGNORE: IGNORE}
    else:
        count, meaning = len(stored), {number: i for i, number in enumerate(sorted(stored))}
    if names and len(names) != count:
        raise FastnasError(f"the masks have {count} classes, but {len(names)} are named")
    usual = ["background", "object"] if count == 2 else [f"class-{i}" for i in range(count)]
    return names or usual, meaning


def _listed_names(source: Source) -> list[str]:
    listed = source.named("classes.txt") or source.named("class_names.txt")
    return [line.strip() for line in read_text(listed[0]).splitlines() if line.strip()] if listed else []
