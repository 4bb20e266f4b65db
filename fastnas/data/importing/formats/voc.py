"""Pascal VOC's folders with palette masks: JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from __future__ import annotations

from pathlib import Path

from fastnas.data.formats.voc import CLASSES, colour_map
from fastnas.data.images import opened
from fastnas.data.importing.classes import number_classes
from fastnas.data.importing.export import Export, Log
from fastnas.data.importing.mask_files import ColourMask, IndexMask, is_palette, labelled, pair_masks
from fastnas.data.importing.source import Source, listed_splits
from fastnas.data.progress import Track
from fastnas.data.readers import read_text
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE

TITLE = "Pascal VOC masks"

FOLDERS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassRaw")
NAMES = ("class_names.txt", "classes.txt", "labels.txt")
"""Files of a class a line that tools write beside; without one the classes are VOC's own."""


def found(source: Source) -> bool:
    """Masks by class, without CVAT's table of colours."""
    return source.has_folder(*FOLDERS) and not source.named("labelmap.txt")


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """Masks whose colours are VOC's, by palette or in RGB; grey ones hold the ids themselves."""
    listed = next((path for name in NAMES for path in source.named(name)), None)
    if listed is None:
        names: list[str] = list(CLASSES)
        log.notes.append("no file names the classes: they are VOC's own")
    else:
        names = [line for line in read_text(listed).splitlines() if line.strip()]
    classes = number_classes(names, listed or source.root, add_background=False)
    ids = [classes.ids[name.strip()] for name in names]
    if IGNORE in ids and ids.index(IGNORE) == 0:  # LabelMe's list starts with __ignore__, whose number is -1
        ids = ids[1:]
    palette = colour_map(256)
    by_colour = {palette[i]: class_id for i, class_id in enumerate(ids)} | {palette[IGNORE]: IGNORE}
    by_index = dict(enumerate(ids)) | {IGNORE: IGNORE}

    export = Export(classes.task(), [], object_masks(source))
    splits = listed_splits(source)
    for image, mask in pair_masks(source, mask_files(source), log, export.used):
        try:
            label = ColourMask(mask, by_colour) if _coloured(mask) else IndexMask(mask, by_index)
        except FastnasError as error:
            log.dropped.append(f"{source.relative(image)}: {error}")
            continue
        export.samples.append(labelled(source, image, label, splits.get(image.stem)))
    return export


def mask_files(source: Source) -> list[Path]:
    """The images in a folder of masks by class."""
    return [path for path in source.images if any(name in path.parts for name in FOLDERS)]


def object_masks(source: Source) -> set[Path]:
    """The images in a folder of masks by object, which are neither images nor masks by class."""
    return {path for path in source.images if any(part.startswith("SegmentationObject") for part in path.parts)}


def _coloured(path: Path) -> bool:
    """The colours count, not the numbers: an RGB mask, or a palette that has VOC's colours, in whatever order."""
    if is_palette(path):
        return True
    with opened(path, f"mask {path.name}") as image:
        return image.mode in ("RGB", "RGBA")
