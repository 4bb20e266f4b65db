"""Pascal VOC 2012 segmentation, with the extra masks of the Semantic Boundaries Dataset (SBD)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastnas.data.base import FilePair, PairDataset
from fastnas.data.info import DatasetInfo
from fastnas.data.readers import checked_ids, id_table, read_ids, read_lines, read_mat
from fastnas.errors import FastnasError
from fastnas.tasks import Colour, Segmentation

INFO = DatasetInfo(
    name="voc",
    title="Pascal VOC 2012",
    kinds=("segmentation",),
    splits=("train", "val", "trainval", "trainaug"),
    layout="""\
DIR/                               or DIR/VOC2012, or DIR/VOCdevkit/VOC2012
  JPEGImages/NAME.jpg
  SegmentationClass/NAME.png       or Masks/NAME.png
  ImageSets/Segmentation/          or the lists in DIR itself
    train.txt val.txt trainval.txt
    trainaug.txt                   for split trainaug; made from the lists of SBD where absent
  SegmentationClassAug/NAME.png    for split trainaug; or SBD as it is published:
  benchmark_RELEASE/dataset/       (here, or beside VOCdevkit)
    cls/NAME.mat train.txt val.txt
any other SPLIT.txt beside train.txt is a split, too""",
    source="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar "
    "(SBD: http://home.bharathh.info/pubs/codes/SBD/download.html)",
    counts={"train": 1464, "val": 1449, "trainval": 2913, "trainaug": 10582},
    lists="SPLIT.txt",
)

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def colour_map(count: int) -> tuple[Colour, ...]:
    """VOC's first `count` colours: the bits of the index, three at a time, fill R, G and B from the top bit down."""

    def channel(index: int, first: int) -> int:
        return sum((index >> (3 * bit + first) & 1) << (7 - bit) for bit in range(3))

    return tuple((channel(i, 0), channel(i, 1), channel(i, 2)) for i in range(count))


TASK = Segmentation(CLASSES, colour_map(len(CLASSES)))
TABLE = id_table(len(CLASSES))


def load(root: Path, split: str, kind: str) -> PairDataset:
    """One split: `train`, `val`, `trainval`, `trainaug` (train and all of SBD that is not in val), or any list's."""
    home = INFO.find(root / "JPEGImages", root / "VOC2012/JPEGImages", root / "VOCdevkit/VOC2012/JPEGImages").parent
    sbd = next((p for p in _sbd_folders(root, home) if p.is_dir()), None)
    names = _trainaug(home, sbd) if split == "trainaug" else read_lines(_list(home, split))
    pairs = [
        FilePair(name, home / "JPEGImages" / f"{name}.jpg", mask) for name, mask in _masks(names, home, sbd, split)
    ]
    return PairDataset(INFO.name, split, TASK, pairs, read_mask)


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Class ids [H, W] of a PNG of VOC or a `.mat` of SBD."""
    if path.suffix != ".mat":
        return read_ids(path, TABLE)
    try:
        ids = read_mat(path)["GTcls"].Segmentation
    except (KeyError, AttributeError) as error:
        raise FastnasError(f"{path} is no mask of SBD: it has no GTcls.Segmentation") from error
    return checked_ids(np.ascontiguousarray(ids, dtype=np.uint8), TABLE, path)


def _list(home: Path, split: str) -> Path:
    return INFO.find_list(split, home / "ImageSets/Segmentation" / f"{split}.txt", home / f"{split}.txt")


def _sbd_folders(root: Path, home: Path) -> list[Path]:
    return [folder / "benchmark_RELEASE/dataset" for folder in (root, home, home.parent, home.parent.parent)]


def _trainaug(home: Path, sbd: Path | None) -> list[str]:
    if sbd is None or (home / "ImageSets/Segmentation/trainaug.txt").is_file():
        return read_lines(_list(home, "trainaug"))
    lists = (_list(home, "train"), sbd / "train.txt", sbd / "val.txt")
    names = {name for path in lists for name in read_lines(path)}
    return sorted(names - set(read_lines(_list(home, "val"))))


def _masks(names: list[str], home: Path, sbd: Path | None, split: str) -> list[tuple[str, Path]]:
    """The mask of each name: VOC's own before SBD's, which has no ignored borders."""
    own = INFO.find(home / "SegmentationClass", home / "Masks")
    known = {path.stem for path in own.iterdir()}
    if split in ("train", "val", "trainval") or known.issuperset(names):
        return [(name, own / f"{name}.png") for name in names]
    extra = home / "SegmentationClassAug"
    if extra.is_dir():
        return [(name, (own if name in known else extra) / f"{name}.png") for name in names]
    if sbd is None:
        raise INFO.missing(extra)
    return [(name, own / f"{name}.png" if name in known else sbd / "cls" / f"{name}.mat") for name in names]
