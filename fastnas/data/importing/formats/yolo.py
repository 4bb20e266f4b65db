"""YOLO segmentation: a data.yaml, and for each image a text file with a polygon a line.

https://docs.ultralytics.com/datasets/segment/ ; also the exports of CVAT and Roboflow of that name.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from fastnas.data.importing.classes import number_classes
from fastnas.data.importing.export import Export, LabelledImage, Log, Regions
from fastnas.data.importing.source import Source, split_of_folders
from fastnas.data.progress import Track
from fastnas.data.readers import read_text
from fastnas.data.shapes import Outline
from fastnas.errors import FastnasError

TITLE = "YOLO segmentation text"


def found(source: Source) -> bool:
    """A YAML file names classes, and there are label files."""
    described = any(b"names:" in path.read_bytes() for path in _described(source))
    return described and any(path.parent != source.root for path in source.named("*.txt"))


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """Every image that has a text file of its name, in labels/ for images/ or beside it; an empty one is background."""
    path, values = _description(source)
    names = values["names"]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise FastnasError(f"{path}: names must be numbered from 0 to {len(names) - 1}")
        names = [names[i] for i in range(len(names))]
    names = [str(name) if type(name) is int else name for name in names] if isinstance(names, list) else names
    if not isinstance(names, list):
        raise FastnasError(f"{path}: names must be a list of classes")
    if values.get("kpt_shape"):
        raise FastnasError(f"{path} describes keypoints: export them as COCO keypoints")
    classes = number_classes(names, path, add_background=True)
    ids = [classes.ids[name.strip()] for name in names]

    labels = {file.with_suffix("") for file in source.named("*.txt")}
    wanted = {image: _label(image, source, labels) for image in source.images}
    shared = Counter(wanted.values())
    listed = _lists(source, path, values)
    export = Export(classes.task(), [])
    for image, label in wanted.items():
        if label is None:
            continue
        export.used.add(image)
        try:
            if shared[label] > 1:
                raise FastnasError(f"several images share the label {label.name}.txt")
            objects = _objects(label.parent / f"{label.name}.txt", ids)
        except FastnasError as error:
            log.dropped.append(f"{source.relative(image)}: {error}")
            continue
        split = listed.get(image) or split_of_folders(source.relative(image))
        export.samples.append(LabelledImage(image, Regions(objects, None, small_last=True), split))
    for label in sorted(labels - set(wanted.values())):
        if "labels" in label.parts:
            log.dropped.append(f"{source.relative(label)}.txt: its image is missing")
    return export


def _described(source: Source) -> list[Path]:
    return source.named("*.yaml") + source.named("*.yml")


def _description(source: Source) -> tuple[Path, dict[str, Any]]:
    """The YAML file that names the classes, and its values."""
    described = []
    for path in _described(source):
        try:
            values = yaml.safe_load(read_text(path))
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise FastnasError(f"{path} cannot be read as YAML: {error}") from error
        if isinstance(values, dict) and "names" in values:
            described.append((path, values))
    if len(described) != 1:
        raise FastnasError(f"{source.root} has {len(described)} YAML files that name classes: one is needed")
    return described[0]


def _label(image: Path, source: Source, labels: set[Path]) -> Path | None:
    """The label file of an image, without its suffix; None where there is none."""
    parts = image.relative_to(source.root).with_suffix("").parts
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    beside = [source.root.joinpath(*parts[:i], "labels", *parts[i + 1 :]) for i in reversed(places)]
    return next((path for path in [*beside, image.with_suffix("")] if path in labels), None)


def _lists(source: Source, path: Path, values: dict[str, Any]) -> dict[Path, str]:
    """The split of the images that the text files of the description list, as CVAT writes them."""
    splits = {}
    for split in ("train", "val", "test"):
        value = values.get(split)
        for listed in source.files:
            if isinstance(value, str) and value.endswith(".txt") and listed.name == Path(value).name:
                for line in filter(None, map(str.strip, read_text(listed).splitlines())):
                    try:
                        splits[source.image(line, listed.parent)] = split
                    except FastnasError:  # images that are not there have labels that are reported
                        continue
    return splits


def _objects(path: Path, ids: list[int]) -> list[tuple[int, Outline]]:
    """The polygons of a label file: lines of a class number and x y x y ... as shares of the image's sides."""
    objects = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path.name}, line {number}"
        try:
            index, values = int(words[0]), [float(word) for word in words[1:]]
        except ValueError as error:
            raise FastnasError(f"{where}: {error}") from error
        if not 0 <= index < len(ids):
            raise FastnasError(f"{where}: class {index} is out of range, 0 to {len(ids) - 1}")
        if len(values) == 4:
            raise FastnasError(f"{where}: a box instead of a polygon; export segmentation, not detection")
        objects.append((ids[index], Outline([values], relative=True)))
    return objects
