"""The files of a new dataset: names of images, masks, and the lists of `folder` or the COCO files of `keypoints`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from fastnas.data.importing.export import Ids, Log
from fastnas.data.importing.near_duplicates import Frame
from fastnas.tasks import IGNORE, Pose, Segmentation
from fastnas.tasks.joint_names import pairs_of

SPLITS = ("train", "val", "test")
IGNORED_COLOUR = (224, 224, 192)
"""Of pixels with id 255 in a mask's palette, as in Pascal VOC's."""


@dataclass
class WrittenImage:
    """One image of the new dataset.

    Attributes:
        name: below images/, with suffix.
        split: train, val or test; None until it is chosen.
        frame: for the choice.
        pixels: of each class id, 256 counts.
        people: COCO annotations, for pose.
        size: (W, H).
    """

    name: str
    split: str | None
    frame: Frame
    size: tuple[int, int]
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    people: list[dict[str, Any]] = field(default_factory=list)


class OutputNames:
    """Names below images/ and masks/: those of the source without unsafe characters, each once."""

    def __init__(self, paths: Sequence[str]) -> None:
        folders = [PurePosixPath(path).parent.parts for path in paths]
        shared = 0
        while all(len(parts) > shared and parts[shared] == folders[0][shared] for parts in folders):
            shared += 1
        self._shared = shared
        self._taken: set[str] = set()

    def new(self, path: str) -> str:
        """The name of a file of the source, without suffix; no other file gets it, in upper or lower case either."""
        parts = PurePosixPath(path).with_suffix("").parts[self._shared :]
        name = "/".join(safe_part(part) for part in parts)
        unique, number = name, 1
        while unique.casefold() in self._taken:
            number += 1
            unique = f"{name}-{number}"
        self._taken.add(unique.casefold())
        return unique


def safe_part(part: str) -> str:
    """A part of a path that any file system and a line of a list can hold."""
    return re.sub(r"[^\w.+@()\[\] -]", "_", part).strip(" .")[:100] or "_"


def save_mask(ids: Ids, task: Segmentation, target: Path) -> None:
    """Class ids as a palette PNG in the colours of the classes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(ids)
    palette = bytearray(768)
    palette[: 3 * len(task.colours)] = bytes(value for colour in task.colours for value in colour)
    palette[3 * IGNORE :] = bytes(IGNORED_COLOUR)
    mask.putpalette(palette)
    mask.save(target)


def write_lists(folder: Path, task: Segmentation, written: Sequence[WrittenImage], log: Log) -> list[dict[str, Any]]:
    """dataset.json and a list for each split."""
    _write_json(folder / "dataset.json", task.to_dict())
    counts: dict[str, Counter[int]] = {}
    pixels = np.zeros(256, dtype=np.int64)
    for split in SPLITS:
        here = [one for one in written if one.split == split]
        lines = [f"images/{one.name}\tmasks/{PurePosixPath(one.name).with_suffix('')}.png\n" for one in here]
        if lines:
            (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
        counts[split] = Counter(int(i) for one in here for i in np.flatnonzero(one.pixels))
        pixels += sum((one.pixels for one in here), np.zeros(256, dtype=np.int64))
    labelled = max(int(pixels.sum() - pixels[IGNORE]), 1)
    unseen = [name for class_id, name in enumerate(task.classes) if not counts["train"][class_id]]
    if unseen:
        log.notes.append(f"on no training image: {', '.join(unseen)}")
    present = [split for split in SPLITS if counts[split]]
    table = [
        {"class": name, "pixels": float(pixels[i] / labelled), **{split: counts[split][i] for split in present}}
        for i, name in enumerate(task.classes)
    ]
    if pixels[IGNORE]:
        ignored = {split: counts[split][IGNORE] for split in present}
        table.append({"class": "(ignored)", "pixels": float(pixels[IGNORE] / pixels.sum()), **ignored})
    return table


def write_people(folder: Path, task: Pose, written: Sequence[WrittenImage]) -> list[dict[str, Any]]:
    """A COCO file for each split."""
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(task.joints),
        "skeleton": [[a + 1, b + 1] for a, b in task.skeleton],
        "mirror": pairs_of(task.joints, task.mirror),
    }
    seen = np.zeros(task.outputs, dtype=np.int64)
    number = 0
    for split in SPLITS:
        here = [(i, one) for i, one in enumerate(written, start=1) if one.split == split]
        images = [{"id": i, "file_name": one.name, "width": one.size[0], "height": one.size[1]} for i, one in here]
        people = []
        for i, one in here:
            for person in one.people:
                number += 1
                visible = np.array(person["keypoints"][2::3]) > 0
                seen += visible
                people.append(
                    {"id": number, "image_id": i, "category_id": 1, "iscrowd": 0, "num_keypoints": int(visible.sum()),
                     **person}
                )  # fmt: skip
        if here:
            content = {"images": images, "annotations": people, "categories": [category]}
            _write_json(folder / f"{split}.json", content)
    return [
        {"joint": name, "labelled": float(count / max(number, 1))}
        for name, count in zip(task.joints, seen, strict=True)
    ]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
