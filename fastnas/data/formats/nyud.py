"""NYU Depth v2: pairs of image and depth files, or the official labelled `.mat`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision import tv_tensors

from fastnas.data.base import DenseDataset, FilePair, PairDataset, Sample
from fastnas.data.images import Note, Size, ignore_note, image_files
from fastnas.data.info import DatasetInfo, MissingData
from fastnas.data.readers import read_lines, read_mat, read_numbers, to_metres
from fastnas.errors import FastnasError
from fastnas.tasks import Depth

INFO = DatasetInfo(
    name="nyud",
    title="NYU Depth v2",
    kinds=("depth",),
    splits=("train", "val", "train-raw", "val-raw", "frames"),
    layout="""\
DIR/
  nyu_depth_v2_labeled.mat    1449 images of 640x480
  splits.mat                  the official 795 and 654
                              train-raw, val-raw: the same images, with the sensor's own depths (rawDepths)
or, pairs of files:
DIR/
  train.txt val.txt           a NAME a line
  rgb/NAME.jpg                or .png
  depth/NAME.png              16 bits: millimetres; 8 bits: 0 to 10 m in 255 steps; 0 is missing
and, for split frames, the tens of thousands of the raw videos, or for any further SPLIT.txt:
DIR/
  frames.txt                  a frame a line: IMAGE DEPTH, paths within DIR; a third column is not read""",
    source="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html "
    "(http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat and "
    "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat)",
    counts={"train": 795, "val": 654},
    lists="SPLIT.txt",
)

TASK = Depth(minimum=0.001, maximum=10.0)

RAW, RAW_DEPTHS = "-raw", "rawDepths"
"""End of the splits whose depths are as the sensor measured them, and where those are."""


def load(root: Path, split: str, kind: str) -> DenseDataset:
    """One split: `train` or `val` (the official test images), either with `-raw` depths, or a list of `frames`."""
    if split == "frames" or split not in INFO.splits:
        listed = INFO.find_list(split, root / f"{split}.txt")
        return PairDataset(INFO.name, split, TASK, _listed(root, listed), read_png)
    labelled = root / "nyu_depth_v2_labeled.mat"
    if labelled.is_file():
        return LabelledMat(split, labelled, INFO.find(root / "splits.mat"))
    if split.endswith(RAW):
        raise INFO.missing(labelled)
    listed = root / f"{split}.txt"
    if not listed.is_file():
        raise INFO.missing(labelled)
    images, depths = INFO.find(root / "rgb"), INFO.find(root / "depth")
    suffixes = {path.stem: path.suffix for path in image_files(images)}
    pairs = [
        FilePair(name, images / f"{name}{suffixes.get(name, '.jpg')}", depths / f"{name}.png")
        for name in read_lines(listed)
    ]
    return PairDataset(INFO.name, split, TASK, pairs, read_png)


def _listed(root: Path, path: Path) -> list[FilePair]:
    """The pairs of a list; a path that begins with a slash, as published lists have it, is within `root` too."""
    pairs = []
    for line in read_lines(path):
        columns = line.split()
        if len(columns) not in (2, 3):
            raise FastnasError(f"{path}: {line!r:.200} must be an image and its depth, and perhaps the focal length")
        image, depth = (name.lstrip("/") for name in columns[:2])
        pairs.append(FilePair(Path(image).with_suffix("").as_posix(), root / image, root / depth))
    return pairs


def read_png(path: Path) -> npt.NDArray[np.float32]:
    """Metres [H, W]: 16 bits are millimetres, 8 bits are 10 m in 255 steps, of which the middle is taken."""
    stored = read_numbers(path)
    if stored.dtype == np.uint8:
        return to_metres(stored, unit=10 / 255, offset=5 / 255)
    return to_metres(stored, unit=0.001)


class LabelledMat(DenseDataset):
    """The official file: HDF5 with `images` [1449, 3, 640, 480] and two kinds of depths [1449, 640, 480], metres.

    `depths` were filled in by the authors; of `rawDepths`, which `train-raw` and `val-raw` have, 0 is missing.
    """

    def __init__(self, split: str, path: Path, splits: Path) -> None:
        self.name, self.split, self.task, self.path = INFO.name, split, TASK, path
        self._depths = RAW_DEPTHS if split.endswith(RAW) else "depths"
        try:
            numbers = np.atleast_1d(read_mat(splits)["trainNdxs" if split.startswith("train") else "testNdxs"])
        except KeyError as error:
            raise FastnasError(f"{splits} has no {error}: get the official splits.mat") from error
        self._rows = [int(number) - 1 for number in numbers]
        if not self._rows:
            raise FastnasError(f"split {split} of nyud is empty: {splits} lists no image")
        with self._open() as file:
            count = len(file["images"])
        if not 0 <= min(self._rows) <= max(self._rows) < count:
            raise FastnasError(f"{splits} lists images up to {max(self._rows) + 1}, but {path} has {count}")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        with self._open() as file:  # opened anew: an HDF5 file must not be shared with the workers of a loader
            image, depth = file["images"][row], to_metres(file[self._depths][row], unit=1)
        return Sample(
            name=f"{row + 1:06d}",
            image=tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 1)))),
            depth=tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(depth.T))),
        )

    def size(self, index: int, note: Note = ignore_note) -> Size:
        """(W, H) of a sample: the same for all."""
        with self._open() as file:
            images, depths = file["images"].shape, file[self._depths].shape
        if (images[0], *images[2:]) != depths:
            raise FastnasError(f"{self.path} has images {list(images)} and depths {list(depths)}: they do not match")
        return images[2], images[3]

    def _open(self) -> Any:
        import h5py  # slow to import, and needed here alone

        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            raise FastnasError(f"{self.path} is damaged, or no MATLAB file of version 7.3: {error}") from error
        if self._depths not in file and self._depths == RAW_DEPTHS:
            raise MissingData(f"{self.path} has no {RAW_DEPTHS}, which the split {self.split} needs", INFO)
        if missing := {"images", self._depths} - set(file):
            raise FastnasError(f"{self.path} has no {' and '.join(sorted(missing))}: get the official file")
        return file
