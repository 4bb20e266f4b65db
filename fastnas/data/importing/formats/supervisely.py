"""Supervisely: meta.json with the classes, and for each data set a folder of images and one of annotations.

https://docs.supervisely.com/data-organization/annotation-json-format
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from fastnas.data.images import noted_size
from fastnas.data.importing.classes import Classes, number_classes, parse_colour
from fastnas.data.importing.export import Export, LabelledImage, Log, Regions
from fastnas.data.importing.source import Source, read_object, rows, split_of_folders
from fastnas.data.progress import Track
from fastnas.data.shapes import Bitmap, Outline, Shape, rectangle
from fastnas.errors import FastnasError
from fastnas.tasks import checked_names

TITLE = "Supervisely project"

THIN = {"point", "line", "graph"}
"""Kinds of objects that have no area."""


def found(source: Source) -> bool:
    """A meta.json, and annotations."""
    return bool(source.named("meta.json")) and source.has_folder("ann")


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """ann/NAME.jpg.json for img/NAME.jpg of each data set. Later objects lie over earlier ones."""
    described = source.named("meta.json")
    if len(described) != 1:
        raise FastnasError(f"{source.root} has {len(described)} files meta.json: one project has one")
    listed = rows(read_object(described[0]), "classes", described[0])
    drawn = [row for row in listed if str(row.get("shape")) not in THIN]
    titles = checked_names([row.get("title") for row in drawn], described[0])
    classes = number_classes(titles, described[0], add_background=True)
    palette = {
        title: parse_colour(str(row["color"]), described[0])
        for title, row in zip(titles, drawn, strict=True)
        if "color" in row and classes.ids[title] < len(classes.names)
    }
    export = Export(classes.task(palette), [])
    thin: Counter[str] = Counter()
    for path in track([path for path in source.named("*.json") if path.parent.name == "ann"], "reading labels"):
        where = source.relative(path)
        try:
            image = source.image(path.name[: -len(".json")], path.parent.parent / "img")
            export.used.add(image)
            content = read_object(path)
            objects = rows(content, "objects", path)
            if not objects:
                raise FastnasError("the image has no labels")
            size = content.get("size")
            labelled = noted_size(size.get("width"), size.get("height")) if isinstance(size, dict) else None
            thin.update(str(row.get("geometryType")) for row in objects if str(row.get("geometryType")) in THIN)
            shapes = [
                (_class_id(classes, row.get("classTitle")), _shape(row))
                for row in objects
                if str(row.get("geometryType")) not in THIN
            ]
        except FastnasError as error:
            log.dropped.append(f"{where}: {error}")
            continue
        split = split_of_folders(source.relative(image))
        export.samples.append(LabelledImage(image, Regions(shapes, labelled), split))
    for kind, count in thin.items():
        log.notes.append(f"{count} objects of the kind {kind} have no area and were left out")
    return export


def _class_id(classes: Classes, title: Any) -> int:
    found = classes.ids.get(title.strip()) if isinstance(title, str) else None
    if found is None:
        raise FastnasError(
            f"an object is of the class {title!r:.60}, which meta.json does not list as one with an area"
        )
    return found


def _shape(row: dict[str, Any]) -> Shape:
    kind = row.get("geometryType")
    values = row.get("bitmap" if kind == "bitmap" else "points")
    if not isinstance(values, dict):
        raise FastnasError(f"an object of the kind {kind!r:.20} has no points or bitmap")
    if kind == "bitmap":
        return Bitmap(values.get("data"), values.get("origin"))
    exterior, interior = values.get("exterior"), values.get("interior") or []
    if not isinstance(exterior, list) or not isinstance(interior, list):
        raise FastnasError("an object's points are no list")
    if kind == "polygon":
        return Outline([exterior], interior, of_pixels=True)
    if kind == "rectangle" and len(exterior) == 2:
        return rectangle(exterior[0], exterior[1], of_pixels=True)
    raise FastnasError(f"an object is of the kind {kind!r:.20}, which cannot be drawn")
