"""What labelling tools write, a module each, with `TITLE`, `found(source)` and `read(source, log, track, colours)`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from fastnas.data.importing import FORMATS
from fastnas.data.importing.export import Export, Log
from fastnas.data.importing.source import Source
from fastnas.data.progress import Track
from fastnas.errors import FastnasError

LAST = "masks"
"""Found only where nothing else is: other formats have folders of masks too."""


def read_export(source: Source, name: str, log: Log, track: Track, colours: Path | None) -> tuple[str, Export]:
    """Read a folder in a format, or in the one that it is found to have with `auto`.

    Returns:
        The title of the format and what was read.

    Raises:
        FastnasError: no format fits, several do, or the files are not of the format.
    """
    chosen = detect(source, colours) if name == "auto" else name
    if colours is not None and chosen != "colours":
        raise FastnasError(f"--colours is the table of the format colours, not of {chosen}")
    module = _module(chosen)
    return module.TITLE, module.read(source, log, track, colours)


def detect(source: Source, colours: Path | None) -> str:
    """The format that a folder has.

    Raises:
        FastnasError: none, or several.
    """
    if colours is not None:
        return "colours"
    fitting = [name for name in FORMATS if name != LAST and _module(name).found(source)]
    if len(fitting) > 1:
        shown = " and ".join(f"{_module(name).TITLE} (--format {name})" for name in fitting)
        raise FastnasError(f"{source.root} could be {shown}: say which with --format")
    if fitting or _module(LAST).found(source):
        return fitting[0] if fitting else LAST
    hint = "; for CVAT's XML, export COCO or Segmentation mask" if source.named("annotations.xml") else ""
    raise FastnasError(
        f"{source.root} has {len(source.images)} images, and labels in no format that is known "
        f"({', '.join(FORMATS)}): see docs/data.md{hint}"
    )


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name.replace('-', '_')}")
