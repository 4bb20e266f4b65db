"""People with keypoints in a JSON file of the COCO format, whatever their joints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnas.data.base import DenseDataset, PersonAnnotation, PoseDataset, Subset
from fastnas.data.images import Size, is_clutter, noted_size
from fastnas.data.info import DatasetInfo
from fastnas.data.readers import read_json
from fastnas.data.split import split_indices
from fastnas.errors import FastnasError
from fastnas.tasks import Pose, checked_names
from fastnas.tasks.joint_names import mirror_of_pairs, mirrored, words

Files = dict[Any, tuple[Path, Size | None]]
"""Id of an image -> its path, and the size that the annotation file notes."""

INFO = DatasetInfo(
    name="keypoints",
    title="keypoints in the COCO format",
    kinds=("pose",),
    splits=("train", "val", "all", "test"),
    layout="""\
DIR/
  train.json val.json    or annotations/train.json annotations/val.json
                         or one .json: train and val are then 80 % and 20 % of it, all is the whole
  test.json SPLIT.json   optional, further splits
  images/NAME.jpg        or in DIR itself: the file_name of the JSON's images""",
    source="your own labelling tool, in the format of https://cocodataset.org/#format-data",
    lists="SPLIT.json",
)


def load(root: Path, split: str, kind: str) -> DenseDataset:
    """One split: `train` and `val` by the JSON files' names, or divided at random; `all` where there is one file."""
    images = root / "images" if (root / "images").is_dir() else root
    folder = root / "annotations" if (root / "annotations").is_dir() else root
    if (folder / f"{split}.json").is_file():
        return read_people(INFO.name, split, folder / f"{split}.json", images)
    found = sorted(path for path in folder.glob("*.json") if not is_clutter(path.name))
    if len(found) != 1 or split not in ("train", "val", "all"):
        INFO.find_list(split, folder / f"{split}.json")
    whole = read_people(INFO.name, split, found[0], images)
    if split == "all":
        return whole
    train, val = split_indices(len(whole), seed=0, fraction=0.2)
    return Subset(whole, train if split == "train" else val, split)


class CocoPeople(PoseDataset):
    """The people of a COCO keypoint file.

    Attributes:
        annotations: the file.
        images: the folder of its images.
    """

    def __init__(
        self, name: str, split: str, task: Pose, people: Sequence[PersonAnnotation], annotations: Path, images: Path
    ) -> None:
        super().__init__(name, split, task, people, annotations)
        self.images = images

    def files(self, content: dict[str, Any]) -> Files:
        """The images of the file's content."""
        return _files(content, self.images)


def read_people(name: str, split: str, path: Path, images: Path) -> CocoPeople:
    """The people of a COCO keypoint file that have a box and a labelled joint, in the file's order; crowds left out.

    Args:
        name: of the dataset.
        split: of the dataset.
        path: the JSON file; its first category with keypoints gives the task.
        images: the folder of the images.

    Raises:
        FastnasError: not of the format, an annotation with another number of joints, or an image that is not there.
    """
    content = read_json(path)
    try:
        category = person_category(content, path)
        bones = [(a - 1, b - 1) for a, b in category.get("skeleton") or ()]
        task = pose_task(checked_names(category["keypoints"], path), bones, category.get("mirror"))
        files = _files(content, images)
        annotations = [entry for entry in content["annotations"] if entry["category_id"] == category["id"]]
        people = [
            _person(entry, files, task, path)
            for entry in annotations
            if not entry.get("iscrowd") and any(entry.get("keypoints", ())[2::3]) and min(entry["bbox"][2:]) > 0
        ]
    except FastnasError as error:
        raise FastnasError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise FastnasError(f"{path} is not a COCO keypoint file: {type(error).__name__} {error}") from error
    return CocoPeople(name, split, task, people, path, images)


def person_category(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The first category with keypoints of the file at `path`.

    Raises:
        FastnasError: there is none.
    """
    for entry in content["categories"]:
        if entry.get("keypoints"):
            return entry
    raise FastnasError(f"{path} has no category with keypoints: it is not a COCO keypoint file")


def _files(content: dict[str, Any], images: Path) -> Files:
    return {
        image["id"]: (images / image["file_name"], noted_size(image.get("width"), image.get("height")))
        for image in content["images"]
    }


def pose_task(
    joints: Iterable[str], skeleton: Iterable[tuple[int, int]], pairs: Sequence[Sequence[str]] | None = None
) -> Pose:
    """The task of named joints.

    Args:
        joints: their names.
        skeleton: pairs of joint indices from 0.
        pairs: names of joints that change places in a mirrored image; None finds them by `left` and `right` in the
            names, see `fastnas.tasks.joint_names`.

    Raises:
        FastnasError: a joint of one side without one of the other, or pairs of unknown joints.
    """
    names = tuple(joints)
    return Pose(names, tuple(skeleton), mirrored(names) if pairs is None else mirror_of_pairs(names, pairs))


def _person(entry: dict[str, Any], files: Files, task: Pose, path: Path) -> PersonAnnotation:
    values = entry["keypoints"]
    if len(values) != 3 * task.outputs:
        raise FastnasError(
            f"{path}: annotation {entry['id']} has {len(values)} keypoint numbers; "
            f"{task.outputs} joints need {3 * task.outputs} (x, y, visibility)"
        )
    if entry["image_id"] not in files:
        raise FastnasError(f"{path}: annotation {entry['id']} is of image {entry['image_id']}, which is not listed")
    table = np.asarray(values, dtype=np.float32).reshape(-1, 3)
    points, visible = np.ascontiguousarray(table[:, :2]), table[:, 2] > 0
    x, y, width, height = entry["bbox"]
    if not (np.isfinite(table).all() and np.isfinite([x, y, width, height]).all()):
        raise FastnasError(f"{path}: annotation {entry['id']} has coordinates that are NaN or infinite")
    image, labelled = files[entry["image_id"]]
    return PersonAnnotation(
        name=f"{image.stem}-{entry['id']}",
        image=image,
        keypoints=points,
        visible=visible,
        box=(x, y, x + width, y + height),
        head_size=head_length(task, points, visible),
        image_id=entry["image_id"],
        area=entry.get("area", width * height),
        labelled=labelled,
    )


def head_length(task: Pose, points: np.ndarray, visible: np.ndarray) -> float:
    """Pixels from neck to head top, for want of a head box; NaN where they are not labelled."""
    names = [words(joint) for joint in task.joints]
    ends = [names.index(end) for end in (("neck",), ("upper", "neck"), ("head", "top")) if end in names]
    if len(ends) != 2 or not visible[ends].all():
        return float("nan")
    return float(np.linalg.norm(points[ends[0]] - points[ends[1]]))
