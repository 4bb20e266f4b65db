"""Roboflow's semantic segmentation masks: for each split NAME.jpg, NAME_mask.png and _classes.csv.

Roboflow's other exports are read as COCO JSON or YOLO segmentation text.
"""

from __future__ import annotations

import csv
from pathlib import Path

from fastnas.data.importing.classes import number_classes
from fastnas.data.importing.export import Export, Log
from fastnas.data.importing.mask_files import IndexMask, labelled, pair_masks
from fastnas.data.importing.source import Source
from fastnas.data.progress import Track
from fastnas.data.readers import read_text
from fastnas.errors import FastnasError

TITLE = "Roboflow semantic segmentation masks"


def found(source: Source) -> bool:
    """A table of classes."""
    return bool(source.named("_classes.csv"))


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """The masks of every split; all splits must name the same classes."""
    tables = source.named("_classes.csv")
    names = _read_classes(tables[0])
    for table in tables[1:]:
        if _read_classes(table) != names:
            raise FastnasError(f"{table} and {tables[0]} name different classes")
    classes = number_classes(names.values(), tables[0], add_background=False)
    meaning = {number: classes.ids[name] for number, name in names.items()}
    export = Export(classes.task(), [])
    masks = [path for path in source.images if path.stem.endswith("_mask")]
    for image, mask in pair_masks(source, masks, log, export.used):
        export.samples.append(labelled(source, image, IndexMask(mask, meaning)))
    return export


def _read_classes(path: Path) -> dict[int, str]:
    """Lines of a pixel value and a class, after a heading."""
    found: dict[int, str] = {}
    try:
        for line in list(csv.reader(read_text(path).splitlines()))[1:]:
            if not line:
                continue
            number, name = line
            if not 0 <= int(number) <= 255 or int(number) in found:
                raise ValueError(f"the pixel value {int(number)} is out of range, or occurs twice")
            found[int(number)] = name.strip()
    except (ValueError, csv.Error) as error:
        raise FastnasError(f"{path} must have lines of a pixel value and a class: {error}") from error
    return found
