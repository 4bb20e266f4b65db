"""A folder of images and one of masks in colours, with a table of the colours (--colours)."""

from __future__ import annotations

from pathlib import Path

from fastnas.data.importing.export import Export, Log
from fastnas.data.importing.formats import cvat, masks, voc
from fastnas.data.importing.source import Source
from fastnas.data.progress import Track
from fastnas.errors import FastnasError

TITLE = "masks in colours"


def found(source: Source) -> bool:
    """Never by itself: its table of colours is given."""
    return False


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """Masks in SegmentationClass or a folder such as masks/, by the table `colours`."""
    if colours is None:
        raise FastnasError("masks in colours need --colours FILE: lines of r g b and a class, or CVAT's labelmap.txt")
    files = voc.mask_files(source) or masks.mask_files(source)
    if not files:
        raise FastnasError(f"{source.root} has no folder of masks, such as masks/ beside images/")
    return cvat.read_coloured(source, log, colours, files)
