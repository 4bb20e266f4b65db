"""MPII Human Pose: the released `.mat`, or the JSON files that single-person training commonly starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnas.data.base import PersonAnnotation, PoseDataset
from fastnas.data.formats.keypoints import head_length, pose_task
from fastnas.data.info import DatasetInfo
from fastnas.data.readers import read_json, read_mat
from fastnas.data.split import split_indices
from fastnas.errors import FastnasError

INFO = DatasetInfo(
    name="mpii",
    title="MPII Human Pose",
    kinds=("pose",),
    splits=("train", "val"),
    layout="""\
DIR/
  images/NAME.jpg
and one of, in DIR or DIR/annot:
  train.json valid.json            the usual split, 2,958 people in valid; gt_valid.mat adds their head boxes
  mpii_annotations.json            both in one file, told apart by isValidation
  mpii_human_pose_v1_u12_1.mat     as released; a tenth of the images, chosen at random, is val""",
    source="http://human-pose.mpi-inf.mpg.de "
    "(https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr/mpii_human_pose_v1.tar.gz and mpii_human_pose_v1_u12_2.zip)",
)

JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax", "upper_neck",
    "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
SKELETON = (
    (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
    (10, 11), (11, 12), (12, 7), (7, 13), (13, 14), (14, 15),
)  # fmt: skip
TASK = pose_task(JOINTS, SKELETON)

HEAD_SHARE = 0.6
"""PCKh's head size is this share of the head box's diagonal (as MPII's own evaluation has it)."""
BODY_HEIGHT = 200.0
"""A person of scale 1 is this tall, pixels."""

Array = npt.NDArray[np.float32]


def load(root: Path, split: str, kind: str) -> PoseDataset:
    """One split: `train` or `val`. Coordinates of all three formats count from 1; samples count from 0."""
    images = INFO.find(root / "images")
    folder = root / "annot" if (root / "annot").is_dir() else root
    listed = folder / ("train.json" if split == "train" else "valid.json")
    merged, released = folder / "mpii_annotations.json", folder / "mpii_human_pose_v1_u12_1.mat"
    path = INFO.find(listed, merged, released)
    read = {listed: _from_lists, merged: _from_merged, released: _from_release}[path]
    try:
        people = [person for person in read(path, images, split) if person.visible.any()]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise FastnasError(f"{path} is not an MPII annotation file: {type(error).__name__} {error}") from error
    return PoseDataset(INFO.name, split, TASK, people, path)


def _from_lists(path: Path, images: Path, split: str) -> Iterator[PersonAnnotation]:
    """`train.json` or `valid.json`: joints [16, 2], joints_vis [16], center, scale, image."""
    heads = _head_sizes(path.with_name("gt_valid.mat")) if split == "val" else None
    entries = read_json(path)
    if heads is not None and len(heads) != len(entries):
        raise FastnasError(f"{path.with_name('gt_valid.mat')} has {len(heads)} people, but {path} has {len(entries)}")
    for number, entry in enumerate(entries):
        points = np.array(entry["joints"], dtype=np.float32) - 1
        visible = np.array(entry["joints_vis"]) > 0
        head = None if heads is None else float(heads[number])
        yield _person(number, images / entry["image"], points, visible, entry["center"], entry["scale"], head)


def _from_merged(path: Path, images: Path, split: str) -> Iterator[PersonAnnotation]:
    """`mpii_annotations.json`: joint_self [16, 3], objpos, scale_provided, img_paths, isValidation."""
    for number, entry in enumerate(read_json(path)):
        if bool(entry["isValidation"]) != (split == "val"):
            continue
        table = np.array(entry["joint_self"], dtype=np.float32)
        # A joint that is not labelled is 0, 0; the third number says not occluded.
        visible = np.all(table[:, :2] > 0, axis=1)
        image = images / entry["img_paths"]
        yield _person(number, image, table[:, :2] - 1, visible, entry["objpos"], entry["scale_provided"], None)


def _from_release(path: Path, images: Path, split: str) -> Iterator[PersonAnnotation]:
    """The struct RELEASE: annolist (image, annorect with head box, points, scale and objpos) and img_train."""
    release = read_mat(path)["RELEASE"]
    chosen = [entry for entry, train in zip(_each(release.annolist), _each(release.img_train), strict=True) if train]
    number = 0
    for row in split_indices(len(chosen), seed=0, fraction=0.1)[split == "val"]:
        for rect in _each(chosen[row].annorect):
            marked = _each(getattr(getattr(rect, "annopoints", None), "point", ()))
            scale: Any = getattr(rect, "scale", ())
            if not marked or np.size(scale) != 1:
                continue
            points, visible = np.full((len(JOINTS), 2), -1, dtype=np.float32), np.zeros(len(JOINTS), dtype=bool)
            for mark in marked:
                points[mark.id], visible[mark.id] = (mark.x - 1, mark.y - 1), True
            head = HEAD_SHARE * float(np.hypot(rect.x2 - rect.x1, rect.y2 - rect.y1))
            centre = (rect.objpos.x, rect.objpos.y)
            yield _person(number, images / str(chosen[row].image.name), points, visible, centre, float(scale), head)
            number += 1


def _person(
    number: int,
    image: Path,
    points: Array,
    visible: npt.NDArray[np.bool_],
    centre: Any,
    scale: float,
    head: float | None,
) -> PersonAnnotation:
    """A person by the centre (pixels from 1) and the scale, the body's height over 200 pixels, of the annotation."""
    if points.shape != (len(JOINTS), 2) or visible.shape != (len(JOINTS),):
        raise ValueError(f"person {number} does not have {len(JOINTS)} joints")
    side = BODY_HEIGHT * scale
    # The annotated centre sits high; 15 pixels of a 200 pixel body put the feet inside (the usual protocol).
    x, y = centre[0] - 1, centre[1] - 1 + 15 * scale
    return PersonAnnotation(
        name=f"{image.stem}-{number}",
        image=image,
        keypoints=points,
        visible=visible,
        box=(x - side / 2, y - side / 2, x + side / 2, y + side / 2),
        head_size=head_length(TASK, points, visible) if head is None else head,
        area=side * side,
    )


def _head_sizes(path: Path) -> Array | None:
    """PCKh's normaliser of every person in `gt_valid.mat` (headboxes_src [2, 2, people]), if the file is there."""
    if not path.is_file():
        return None
    boxes = np.asarray(read_mat(path)["headboxes_src"], dtype=np.float32)
    sizes: Array = HEAD_SHARE * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    return np.atleast_1d(sizes)


def _each(value: Any) -> list[Any]:
    """A MATLAB array as a list: scipy unpacks an array of one."""
    return list(np.atleast_1d(value))
