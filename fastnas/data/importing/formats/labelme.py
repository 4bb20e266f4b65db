"""LabelMe: a JSON file for each image, beside it or in another folder.

https://github.com/wkentaro/labelme
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from fastnas.data.images import noted_size
from fastnas.data.importing.classes import number_classes
from fastnas.data.importing.export import Export, LabelledImage, Log, Regions
from fastnas.data.importing.formats.coco import sniffed
from fastnas.data.importing.source import Source, read_object, rows, split_of_folders
from fastnas.data.progress import Track
from fastnas.data.shapes import Bitmap, Outline, Shape, circle, rectangle
from fastnas.errors import FastnasError

TITLE = "LabelMe JSON"

THIN = {"point", "points", "line", "linestrip"}
"""Kinds of shapes that have no area."""


def found(source: Source) -> bool:
    """Some JSON has shapes of an image."""
    return any(b'"shapes"' in content and b'"imagePath"' in content for content in sniffed(source))


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """Every JSON file with shapes; one without any shape is background. Later shapes lie over earlier ones."""
    contents: dict[Path, tuple[Path, dict[str, Any], list[dict[str, Any]]]] = {}
    used: set[Path] = set()
    labels: set[str] = set()
    for path in track(source.named("*.json"), "reading labels"):
        try:
            content = read_object(path)
            if "shapes" not in content:
                continue
            content.pop("imageData", None)  # the image again, in base64
            image = _image(source, path, content)
            if image in used:
                contents.pop(image, None)
                raise FastnasError(f"{source.relative(image)} has labels in several files")
            used.add(image)
            shapes = rows(content, "shapes", path)
            labels.update(_label(row) for row in shapes if not _thin(row))
            contents[image] = (path, content, shapes)
        except FastnasError as error:
            log.dropped.append(f"{source.relative(path)}: {error}")

    classes = number_classes(sorted(labels), source.root, add_background=True)
    export = Export(classes.task(), [], used)
    thin: Counter[str] = Counter()
    for image, (path, content, shapes) in contents.items():
        try:
            objects = [(classes.ids[_label(row)], _shape(row)) for row in shapes if not _thin(row)]
            size = noted_size(content.get("imageWidth"), content.get("imageHeight"))
        except FastnasError as error:
            log.dropped.append(f"{source.relative(path)}: {error}")
            continue
        thin.update(str(row.get("shape_type")) for row in shapes if _thin(row))
        export.samples.append(LabelledImage(image, Regions(objects, size), split_of_folders(source.relative(image))))
    for kind, count in thin.items():
        log.notes.append(f"{count} shapes of the kind {kind} have no area and were left out")
    return export


def _image(source: Source, path: Path, content: dict[str, Any]) -> Path:
    try:
        return source.image(str(content.get("imagePath")), path.parent)
    except FastnasError:  # renamed since: the image beside the label
        beside = [image for image in source.images if image.with_suffix("") == path.with_suffix("")]
        if len(beside) != 1:
            raise
        return beside[0]


def _label(row: dict[str, Any]) -> str:
    label = row.get("label")
    if not isinstance(label, str):
        raise FastnasError(f"the label of a shape must be text, not {label!r:.40}")
    return label.strip()


def _thin(row: dict[str, Any]) -> bool:
    return str(row.get("shape_type")) in THIN


def _shape(row: dict[str, Any]) -> Shape:
    kind, points = row.get("shape_type") or "polygon", row.get("points")
    if not isinstance(points, list):
        raise FastnasError(f"a shape has no list of points, but {points!r:.40}")
    if kind == "polygon":
        return Outline([points])
    if len(points) != 2:
        raise FastnasError(f"a {kind!r:.20} needs two points, not {len(points)}")
    if kind == "rectangle":
        return rectangle(points[0], points[1])
    if kind == "circle":
        return circle(points[0], points[1])
    if kind == "mask":
        return Bitmap(row.get("mask"), points[0])
    raise FastnasError(f"a shape is of the unknown kind {kind!r:.20}")
