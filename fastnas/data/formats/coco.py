"""MS COCO 2017: objects as masks of the 21 classes of Pascal VOC (for pre-training), or people with 17 joints."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision import tv_tensors

from fastnas.data.base import DenseDataset, Sample
from fastnas.data.formats.keypoints import read_people
from fastnas.data.formats.voc import TASK as VOC_TASK
from fastnas.data.info import DatasetInfo
from fastnas.data.readers import read_image, read_json, read_size, require_files
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
            objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
            for entry in content["annotations"]:
                if entry["category_id"] in ids:
                    objects[entry["image_id"]].append(
                        {
                            "class": IGNORE if entry["iscrowd"] else ids[entry["category_id"]],
                            "area": entry["area"],
                            "shape": entry["segmentation"],
                        }
                    )
            self._items = [
                (images / image["file_name"], sorted(objects[image["id"]], key=lambda one: -float(one["area"])))
                for image in content["images"]
                if sum(one["area"] for one in objects.get(image["id"], ()) if one["class"] != IGNORE) >= SMALLEST
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise FastnasError(f"{annotations} is not a COCO instance file: {type(error).__name__} {error}") from error
        if not self._items:
            raise FastnasError(f"split {split} of coco is empty: {annotations} has no object of VOC's classes")
        require_files((path for path, _ in self._items), "image")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:
        path, objects = self._items[index]
        image = read_image(path)
        height, width = image.shape[-2:]
        mask = np.zeros((height, width), dtype=np.uint8)
        for one in objects:
            mask[self._raster(one["shape"], height, width, path)] = one["class"]
        return Sample(name=path.stem, image=image, mask=tv_tensors.Mask(torch.from_numpy(mask)))

    def size(self, index: int) -> tuple[int, int]:
        """(W, H) of a sample, from the header of its image."""
        return read_size(self._items[index][0])

    def _raster(self, shape: Any, height: int, width: int, path: Path) -> npt.NDArray[np.bool_]:
        """Polygons or run lengths as a mask, bool [H, W]."""
        from pycocotools import mask as coco_mask

        try:
            if isinstance(shape, list):
                runs = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
            else:
                runs = coco_mask.frPyObjects(shape, height, width) if isinstance(shape["counts"], list) else shape
            if list(runs["size"]) != [height, width]:
                raise FastnasError(
                    f"{self.annotations}: an object of {path.name} is drawn on {runs['size'][1]}x{runs['size'][0]}, "
                    f"but the image is {width}x{height}"
                )
            mask: npt.NDArray[np.bool_] = coco_mask.decode(runs).astype(bool)
            return mask
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FastnasError(f"{self.annotations}: an object of {path.name} cannot be drawn: {error}") from error
