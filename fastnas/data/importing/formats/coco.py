"""COCO JSON with the outlines of objects: COCO's own, CVAT's and Roboflow's exports.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastnas.data.images import noted_size
from fastnas.data.importing.classes import Classes, number_classes
from fastnas.data.importing.export import Export, LabelledImage, Log, Regions
from fastnas.data.importing.source import Source, read_object, rows, split_of_name
from fastnas.data.progress import Track
from fastnas.data.shapes import coco_shape
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE, checked_names

TITLE = "COCO JSON with outlines of objects"

OUTLINE = re.compile(rb'"segmentation"\s*:\s*(?:\{|\[\s*[\[\d-])')


def found(source: Source) -> bool:
    """Some JSON has objects with outlines that are not empty."""
    return any(OUTLINE.search(content) and b'"category_id"' in content for content in sniffed(source))


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """Every JSON file of the source that lists images and objects; those with joints only where there are no others."""
    files = read_files(source)
    files = [one for one in files if not one.has_joints] or files
    annotated = {one.names.get(as_key(row.get("category_id"))) for one in files for row in one.annotations}
    groups = {name for one in files for name in one.groups} - annotated
    names = dict.fromkeys(name for one in files for name in one.names.values() if name not in groups)
    for name in sorted(groups):
        log.notes.append(f"category {name} has no object and only groups the others: it is no class")
    classes = number_classes(names, ", ".join(source.relative(one.path) for one in files), add_background=True)

    export = Export(classes.task(), [])
    for one in files:
        for image, entry, objects_of in one.matched(source, log, export.used):
            where = source.relative(image)
            try:
                objects = [(_class_id(row, one, classes), coco_shape(row.get("segmentation"))) for row in objects_of]
                size = noted_size(entry.get("width"), entry.get("height"))
            except FastnasError as error:
                log.dropped.append(f"{where}: {error}")
                continue
            export.samples.append(LabelledImage(image, Regions(objects, size, small_last=True), one.split))
    return export


def _class_id(row: dict[str, Any], file: CocoFile, classes: Classes) -> int:
    if row.get("iscrowd"):
        return IGNORE
    category = as_key(row.get("category_id"))
    if category not in file.names:
        raise FastnasError(f"an object has the category {category}, which is not listed")
    return classes.ids[file.names[category]]


@dataclass
class CocoFile:
    """One JSON file, its parts checked to be lists of objects.

    Attributes:
        names: category id -> name.
        groups: names of categories that only group others, as Roboflow writes them.
    """

    path: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    names: dict[int | str, str]
    groups: set[str]
    split: str | None

    @property
    def has_joints(self) -> bool:
        """A category names joints."""
        return any(row.get("keypoints") for row in self.categories)

    def matched(
        self, source: Source, log: Log, used: set[Path]
    ) -> Iterator[tuple[Path, dict[str, Any], list[dict[str, Any]]]]:
        """Image file, entry and annotations of every image that has some; the rest goes to `log`."""
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for row in self.annotations:
            by_image[as_key(row.get("image_id"))].append(row)
        ids = Counter(as_key(row.get("id")) for row in self.images)
        names = Counter(str(row.get("file_name")) for row in self.images)
        where = source.relative(self.path)
        for image_id in by_image.keys() - ids.keys():
            log.dropped.append(f"{where}: {len(by_image[image_id])} objects of image {image_id}, which is not listed")
        for row in self.images:
            name, image_id = str(row.get("file_name")), as_key(row.get("id"))
            try:
                path = source.image(name, self.path.parent, *self._folders(source))
                if path in used:
                    raise FastnasError("its labels are in another file too, or it is listed twice")
                used.add(path)
                if ids[image_id] > 1 or names[name] > 1:
                    raise FastnasError(f"it, or its id {image_id}, is listed twice")
                if not by_image[image_id]:
                    raise FastnasError("it has no labels")
            except FastnasError as error:
                log.dropped.append(f"{where}: {name}: {error}")
            else:
                yield path, row, by_image[image_id]

    def _folders(self, source: Source) -> list[Path]:
        """Where the images may be: images/ or train2017/ beside the JSON's folder, as COCO and CVAT write them."""
        split = self.path.stem.rpartition("_")[2]
        bases = (self.path.parent, self.path.parent.parent, source.root)
        return [base / name for base in bases for name in (f"images/{split}", split, "images")]


def as_key(value: Any) -> int | str:
    """An id as a key of a dictionary, whatever the JSON holds there."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) else repr(value)


def read_files(source: Source) -> list[CocoFile]:
    """The JSON files of COCO's form.

    Raises:
        FastnasError: there is none, or one that begins like it is damaged.
    """
    files = []
    for path in source.named("*.json"):
        try:
            content = read_object(path)
            if not {"images", "annotations", "categories"} <= content.keys():
                continue
            categories = rows(content, "categories", path)
            known = checked_names((row.get("name") for row in categories), path)
            names = dict(zip((as_key(row.get("id")) for row in categories), known, strict=True))
            if len(names) < len(categories):
                raise FastnasError(f"{path}: two categories have the same id")
            parents = {row.get("supercategory") for row in categories if isinstance(row.get("supercategory"), str)}
            groups = {r["name"].strip() for r in categories if r.get("supercategory") == "none"} & parents
            images, annotations = rows(content, "images", path), rows(content, "annotations", path)
            split = split_of_name(source.relative(path))
            files.append(CocoFile(path, images, annotations, categories, names, groups, split))
        except TypeError as error:
            raise FastnasError(f"{path} is not of COCO's form: {error}") from error
    if not files:
        raise FastnasError(f"{source.root} has no JSON file with images, annotations and categories")
    return files


def sniffed(source: Source) -> Iterator[bytes]:
    """The bytes of JSON files, at most three of a folder: enough to detect the format."""
    seen: Counter[Path] = Counter()
    for path in source.named("*.json"):
        seen[path.parent] += 1
        if seen[path.parent] <= 3:
            yield path.read_bytes()
