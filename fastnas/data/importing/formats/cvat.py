"""CVAT's segmentation masks: labelmap.txt with a colour for each class, and SegmentationClass.

https://docs.cvat.ai/docs/dataset_management/formats/format-smask
"""

from __future__ import annotations

from pathlib import Path

from fastnas.data.importing.classes import BACKGROUND, number_classes, parse_colour
from fastnas.data.importing.export import Export, Log
from fastnas.data.importing.formats.voc import FOLDERS, mask_files, object_masks
from fastnas.data.importing.mask_files import ColourMask, labelled, pair_masks
from fastnas.data.importing.source import Source, listed_splits
from fastnas.data.progress import Track
from fastnas.data.readers import read_text
from fastnas.errors import FastnasError
from fastnas.tasks import Colour, checked_names

TITLE = "CVAT segmentation masks"


def found(source: Source) -> bool:
    """A table of colours and masks by class."""
    return bool(source.named("labelmap.txt")) and source.has_folder(*FOLDERS)


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """Masks by the colours of labelmap.txt; black is background where no class has it."""
    tables = source.named("labelmap.txt")
    if len(tables) != 1:
        raise FastnasError(f"{source.root} has {len(tables)} files labelmap.txt: one is needed")
    return read_coloured(source, log, tables[0], mask_files(source))


def read_coloured(source: Source, log: Log, table: Path, masks: list[Path]) -> Export:
    """Masks by a table of colours."""
    named = read_colour_table(table)
    if (0, 0, 0) not in named.values() and not BACKGROUND & {name.lower() for name in named}:
        named = {"background": (0, 0, 0), **named}
    classes = number_classes(named, table, add_background=False)
    kept = {name: colour for name, colour in named.items() if classes.ids[name] < len(classes.names)}
    meaning = {colour: classes.ids[name] for name, colour in named.items()}
    export = Export(classes.task(kept), [], object_masks(source))
    splits = listed_splits(source)
    for image, mask in pair_masks(source, masks, log, export.used):
        export.samples.append(labelled(source, image, ColourMask(mask, meaning), splits.get(image.stem)))
    return export


def read_colour_table(path: Path) -> dict[str, Colour]:
    """Names and colours of CVAT's lines `name:r,g,b:parts:actions`, or of lines `r g b name`; # begins a comment.

    Raises:
        FastnasError: a line of another form, a name or a colour that occurs twice.
    """
    found: list[tuple[str, Colour]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{path}, line {number}"
        fields = line.rsplit(":", 3)
        if len(fields) == 4:
            found.append((fields[0], parse_colour(fields[1], where)))
            continue
        words = line.replace(",", " ").split(maxsplit=3)
        if len(words) != 4:
            raise FastnasError(f"{where}: {line!r:.60} must be r g b and a name")
        found.append((words[3], parse_colour(" ".join(words[:3]), where)))
    names, colours = checked_names((name for name, _ in found), path), [colour for _, colour in found]
    for colour in colours:
        if colours.count(colour) > 1:
            raise FastnasError(f"{path}: two classes have the colour {colour}: they cannot be told apart")
    return dict(zip(names, colours, strict=True))
