"""CityScapes with its fine annotations and the 19 classes of its benchmark."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from fastnas.data.base import FilePair, PairDataset
from fastnas.data.images import is_clutter
from fastnas.data.info import DatasetInfo
from fastnas.data.readers import IdTable, read_ids
from fastnas.tasks import IGNORE, Colour, Segmentation

INFO = DatasetInfo(
    name="cityscapes",
    title="CityScapes",
    kinds=("segmentation",),
    splits=("train", "val"),  # the labels of test are not public
    layout="""\
DIR/
  leftImg8bit/{train,val}/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
  gtFine/{train,val}/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png""",
    source="https://www.cityscapes-dataset.com/downloads (leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip)",
    counts={"train": 2975, "val": 500},
)

# The id in the files, the class and its colour; the order is that of the benchmark's train ids.
# Source: https://github.com/mcordts/cityscapesScripts (helpers/labels.py)
_CLASSES: tuple[tuple[int, str, Colour], ...] = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)

TASK = Segmentation(tuple(name for _, name, _ in _CLASSES), tuple(colour for _, _, colour in _CLASSES))


def label_table() -> IdTable:
    """Stored ids 0 to 33 to train ids; other classes and licence plates (-1, stored as 255) are ignored."""
    table = np.full(256, -1, dtype=np.int16)
    table[:34] = table[IGNORE] = IGNORE
    for train_id, (stored, _, _) in enumerate(_CLASSES):
        table[stored] = train_id
    return table


def load(root: Path, split: str, kind: str) -> PairDataset:
    """One split: `train` (2,975 images) or `val` (500)."""
    images = INFO.find(root / "leftImg8bit" / split)
    masks = INFO.find(root / "gtFine" / split)
    pairs = []
    for image in sorted(images.glob("*/*_leftImg8bit.png")):
        if is_clutter(image.name):
            continue
        name = image.name.removesuffix("_leftImg8bit.png")
        pairs.append(FilePair(name, image, masks / image.parent.name / f"{name}_gtFine_labelIds.png"))
    return PairDataset(INFO.name, split, TASK, pairs, partial(read_ids, table=label_table()))
