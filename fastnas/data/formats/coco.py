"""MS COCO 2017: objects as masks of the 21 classes of Pascal VOC (for pre-training), or people with 17 joints."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from fastnas.data.base import DenseDataset, Sample
from fastnas.data.formats.keypoints import read_people
from fastnas.data.formats.voc import TASK as VOC_TASK
from fastnas.data.images import Note, Size, fit, ignore_note, noted_size, read_image, read_size
from fastnas.data.info import DatasetInfo
from fastnas.data.readers import read_json, require_files
from fastnas.data.shapes import coco_shape
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE

INFO = DatasetInfo(
    name="coco",
    title="MS COCO 2017",
    kinds=("segmentation", "pose"),
    splits=("train", "val"),
    layout="""\
DIR/
  train2017/ID.jpg val2017/ID.jpg
  annotations/
    instances_train2017.json instances_val2017.json                  for --task segmentation
    person_keypoints_train2017.json person_keypoints_val2017.json    for --task pose""",
    source="https://cocodataset.org/#download (train2017.zip, val2017.zip, annotations_trainval2017.zip)",
)

# COCO's name of a category -> VOC's, where they differ; COCO's 60 other categories are background.
VOC_NAMES = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "dining table": "diningtable",
    "potted plant": "pottedplant",
    "couch": "sofa",
    "tv": "tvmonitor",
}
SMALLEST = 1000
"""Images with fewer pixels of VOC's classes are left out, as in torchvision's reference training."""


def load(root: Path, split: str, kind: str) -> DenseDataset:
    """One split, with masks (`segmentation`) or people (`pose`)."""
    images = INFO.find(root / f"{split}2017")
    prefix = "person_keypoints" if kind == "pose" else "instances"
    annotations = INFO.find(root / "annotations" / f"{prefix}_{split}2017.json")
    if kind == "pose":
        return read_people(INFO.name, split, annotations, images)
    return CocoMasks(split, annotations, images)


class CocoMasks(DenseDataset):
    """Images with at least `SMALLEST` pixels of VOC's classes, their objects drawn as a mask.

    Small objects lie over large ones; regions of crowds are ignored.
    """

    def __init__(self, split: str, annotations: Path, images: Path) -> None:
        self.name, self.split, self.task, self.annotations = INFO.name, split, VOC_TASK, annotations
        content = read_json(annotations)
        try:
            named = {entry["id"]: VOC_NAMES.get(entry["name"], entry["name"]) for entry in content["categories"]}
            ids = {number: VOC_TASK.classes.index(name) for number, name in named.items() if name in VOC_TASK.classes}
            objects: dict[int, list[_Object]] = defaultdict(list)
            for entry in content["annotations"]:
                if entry["category_id"] in ids:
                    class_id = IGNORE if entry["iscrowd"] else ids[entry["category_id"]]
                    objects[entry["image_id"]].append(_Object(class_id, _area(entry), entry["segmentation"]))
            self._items = [
                _Item(
                    images / image["file_name"],
                    noted_size(image.get("width"), image.get("height")),
                    sorted(objects[image["id"]], key=lambda one: -one.area),
                )
                for image in content["images"]
                if sum(one.area for one in objects.get(image["id"], ()) if one.class_id != IGNORE) >= SMALLEST
            ]
        except FastnasError as error:
            raise FastnasError(f"{annotations}: {error}") from error
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise FastnasError(f"{annotations} is not a COCO instance file: {type(error).__name__} {error}") from error
        if not self._items:
            raise FastnasError(f"split {split} of coco is empty: {annotations} has no object of VOC's classes")
        require_files((item.image for item in self._items), "image")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:
        item = self._items[index]
        image = read_image(item.image)
        height, width = image.shape[-2:]
        labelled = self._fit(item, (width, height), ignore_note)
        mask = np.zeros((height, width), dtype=np.uint8)
        for one in item.objects:
            try:
                left, top, pixels = coco_shape(one.segmentation).mask((width, height), labelled)
            except FastnasError as error:
                raise FastnasError(
                    f"{self.annotations}: an object of {item.image.name} cannot be drawn: {error}"
                ) from error
            mask[top : top + pixels.shape[0], left : left + pixels.shape[1]][pixels] = one.class_id
        return Sample(name=item.image.stem, image=image, mask=tv_tensors.Mask(torch.from_numpy(mask)))

    def size(self, index: int, note: Note = ignore_note) -> Size:
        """(W, H) of a sample, from the header of its image."""
        item = self._items[index]
        size = read_size(item.image)
        self._fit(item, size, note)
        return size

    def image_path(self, index: int) -> Path | None:
        """The image file of a sample."""
        return self._items[index].image

    def _fit(self, item: _Item, size: Size, note: Note) -> Size:
        """The size from which the objects of an image of `size` are scaled."""
        try:
            return fit(item.labelled or size, size, note)
        except FastnasError as error:
            raise FastnasError(f"{self.annotations}: {item.image.name}: {error}") from error


class _Object(NamedTuple):
    class_id: int
    area: float
    segmentation: Any


class _Item(NamedTuple):
    """An image file, the size that the annotation file notes for it, and its objects, the largest first."""

    image: Path
    labelled: Size | None
    objects: list[_Object]


def _area(entry: dict[str, Any]) -> float:
    area = float(entry["area"])
    if not math.isfinite(area):
        raise FastnasError(f"annotation {entry.get('id')} has the area {area}")
    return area
