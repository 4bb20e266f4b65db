"""The data of `pose`: people with COCO's 17 joints, from labels where there are any and from MoveNet elsewhere.

    python weights/training/pose.py DATA movenet_single_pose_lightning_ptq.tflite OUT

- Leeds Sports Pose extended, `lspet/train.json`: labels, and MoveNet's joints that the file carries.
- `pose_lspet`, split `train` of the dataset `keypoints`: 12 of its 14 joints, and MoveNet's.
- People of Pascal VOC's masks in `voc` and `voc_animals` (`train`), each connected region of the class: MoveNet's.

The validation set is the split `val` of `pose_lspet`, 12 joints of 100 people, with labels alone. OUT becomes a
dataset `keypoints`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from folders import PERSON
from PIL import Image
from rich.progress import track
from teachers import MoveNet

from fastnas.data import open_dataset
from fastnas.jetson.files import write_text

SIDES = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
JOINTS = ["nose", *(f"{side}_{part}" for part in ("eye", "ear", *SIDES) for side in ("left", "right"))]
BONES = [
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
    ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right")
      for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"))),
]  # fmt: skip

SURE = 0.3
"""MoveNet's joints of a lower score are left out."""
SMALLEST = 64
"""Pixels of the longer side of a person in VOC's masks."""

Table = npt.NDArray[np.float32]
Person = tuple[Path, Table, tuple[float, float, float, float]]
"""Image, joints [17, 3] (x, y; 2 labelled, 1 MoveNet's, 0 unknown), and box (left, top, right, bottom)."""


def main() -> None:
    """Write both JSON files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    movenet = MoveNet(given.teacher)
    train = [*leeds(given.data / "lspet"), *labelled(given.data / "pose_lspet", "train", movenet)]
    for folder, images, masks in (("voc", "JPEGImages", "Masks"), ("voc_animals", "images", "masks")):
        train += masked(given.data / folder, images, masks, movenet)
    val = list(labelled(given.data / "pose_lspet", "val", None))
    given.out.mkdir(parents=True, exist_ok=True)
    for split, people in (("train", train), ("val", val)):
        write_text(given.out / f"{split}.json", json.dumps(content(people, given.out)))
        print(f"{split}: {len(people)} people, {sum(int((table[:, 2] > 0).sum()) for _, table, _ in people)} joints")


def leeds(folder: Path) -> Iterator[Person]:
    """The people of `lspet`."""
    stored = json.loads((folder / "train.json").read_text())
    files = {image["id"]: folder / "images" / image["file_name"] for image in stored["images"]}
    for entry in stored["annotations"]:
        labels = np.array(entry["keypoints"], np.float32).reshape(17, 3)
        guesses = np.array(entry["movenet"], np.float32).reshape(17, 3)
        yield files[entry["image_id"]], filled(labels, guesses), box_of(entry["bbox"])


def labelled(folder: Path, split: str, movenet: MoveNet | None) -> Iterator[Person]:
    """The people of `pose_lspet`; what it does not label is filled in by MoveNet, where it is given."""
    dataset = open_dataset("keypoints", folder, split)
    for i in track(range(len(dataset)), f"pose_lspet {split}"):
        sample, path = dataset[i], dataset.image_path(i)
        labels = np.zeros((17, 3), np.float32)
        for joint, point, seen in zip(dataset.task.joints, sample["keypoints"], sample["visible"], strict=True):
            if joint in JOINTS and seen:
                labels[JOINTS.index(joint)] = (*point.tolist(), 2)
        left, top, right, bottom = sample["box"].flatten().tolist()
        box = (left, top, right, bottom)
        if movenet is not None:
            labels = filled(labels, movenet(sample["image"].permute(1, 2, 0).contiguous().numpy(), box))
        assert path is not None
        yield path, labels, box


def masked(folder: Path, images: str, masks: str, movenet: MoveNet) -> Iterator[Person]:
    """The people of masks, where MoveNet is sure of at least half of the joints."""
    for name in track((folder / "train.txt").read_text().split(), folder.name):
        regions = (np.array(Image.open(folder / masks / f"{name}.png")) == PERSON).astype(np.uint8)
        _, _, found, _ = cv2.connectedComponentsWithStats(regions)
        path = folder / images / f"{name}.jpg"
        for left, top, width, height, _ in found[1:]:
            if max(width, height) < SMALLEST:
                continue
            image = np.array(Image.open(path).convert("RGB"))
            box = (float(left), float(top), float(left + width), float(top + height))
            table = filled(np.zeros((17, 3), np.float32), movenet(image, box))
            if (table[:, 2] > 0).sum() >= 9:
                yield path, table, box


def filled(labels: Table, guesses: Table) -> Table:
    """The labels, and for joints without one MoveNet's guess where it is sure."""
    known = labels[:, 2] > 0
    sure = (guesses[:, 2] > SURE).astype(np.float32)
    taught = np.concatenate([guesses[:, :2], sure[:, None]], 1) * sure[:, None]
    return np.where(known[:, None], labels, taught)


def box_of(values: list[float]) -> tuple[float, float, float, float]:
    """COCO's (x, y, width, height) as (left, top, right, bottom)."""
    x, y, width, height = values
    return x, y, x + width, y + height


def content(people: list[Person], out: Path) -> dict[str, Any]:
    """COCO's JSON of the people, with images relative to `out`."""
    images: dict[Path, int] = {}
    annotations = []
    for number, (path, table, (left, top, right, bottom)) in enumerate(people, start=1):
        image_id = images.setdefault(path, len(images) + 1)
        values = np.where(table[:, 2:] > 0, table, 0).round(1).flatten().tolist()
        box = [left, top, right - left, bottom - top]
        annotations.append(
            {"id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0, "bbox": box, "keypoints": values}
        )
    skeleton = [[JOINTS.index(a) + 1, JOINTS.index(b) + 1] for a, b in BONES]
    return {
        "images": [{"id": number, "file_name": os.path.relpath(path, out)} for path, number in images.items()],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": JOINTS, "skeleton": skeleton}],
    }


if __name__ == "__main__":
    main()
