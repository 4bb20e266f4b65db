"""Any folder of images with masks or depths, described by one JSON file and a list for each split."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fastnas.data.base import FilePair, PairDataset
from fastnas.data.formats.voc import colour_map
from fastnas.data.info import DatasetInfo
from fastnas.data.readers import id_table, read_depth, read_ids, read_json, read_lines
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE, Depth, Segmentation, task_from_dict

INFO = DatasetInfo(
    name="folder",
    title="a folder of images and labels",
    kinds=("segmentation", "depth"),
    splits=("train", "val", "test"),
    layout="""\
DIR/
  dataset.json    {"kind": "segmentation", "classes": ["road", "other"]}
                  optional: "colours": [[128, 64, 128], [0, 0, 0]]
                            "mask_map": {"255": 1}    numbers in masks that mean another class id
              or  {"kind": "depth", "minimum": 0.1, "maximum": 80, "unit": 0.001}
                  unit: metres per step of the stored number
  train.txt       lines of an image and its label, both relative to DIR: images/1.jpg labels/1.png
  val.txt         (names with spaces: put tabs between the files)
  SPLIT.txt       a further split
                  third column, optional: a teacher's outputs for distillation, images/1.npy, [classes, h, w];
                  the label of an image that has none is -
masks: grey or palette PNG of class ids from 0, 255 ignored; depths: 8 or 16 bit PNG, or .npy; 0 is missing""",
    source="your own camera and labelling tool",
    lists="SPLIT.txt",
)


def load(root: Path, split: str, kind: str, mask_map: Mapping[Any, Any] | None = None) -> PairDataset:
    """One split by its list; the kind of labels is what `dataset.json` says.

    Args:
        root: the folder.
        split: train, val, test or any other list's.
        kind: not used.
        mask_map: stored number -> class id, instead of that of `dataset.json`.
    """
    described = INFO.find(root / "dataset.json")
    values = read_json(described)
    if not isinstance(values, dict):
        raise FastnasError(f"{described} must hold an object such as {{'kind': 'segmentation', 'classes': [...]}}")
    stored_map = values.pop("mask_map", {})
    unit = values.pop("unit", 1.0)
    if isinstance(unit, bool) or not isinstance(unit, (int, float)) or not unit > 0:
        raise FastnasError(f"{described}: unit must be metres per step of the stored depth, not {unit!r}")
    if values.get("kind") == "segmentation" and "classes" in values:
        classes = values["classes"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise FastnasError(f"{described}: classes must be a list of names, not {classes!r:.80}")
        values.setdefault("colours", colour_map(len(classes)))
    try:
        task = task_from_dict(values)
    except FastnasError as error:
        raise FastnasError(f"{described}: {error}") from error
    if not isinstance(task, Segmentation | Depth):
        raise FastnasError(f"{described}: a folder holds masks or depths; for {task.kind} open the dataset keypoints")

    listed = INFO.find_list(split, root / f"{split}.txt")
    pairs = []
    for line in read_lines(listed):
        files = line.split("\t") if "\t" in line else line.split()
        if len(files) not in (2, 3) or set(files[1:]) == {"-"}:
            raise FastnasError(
                f"{listed}: {line!r} must be an image and its label, or an image, - and a teacher's outputs"
            )
        target, teacher = (root / name if name != "-" else None for name in (files[1], [*files, "-"][2]))
        pairs.append(FilePair(Path(files[0]).with_suffix("").as_posix(), root / files[0], target, teacher))
    if isinstance(task, Segmentation):
        changed = _mask_map(stored_map if mask_map is None else mask_map, task.outputs, described)
        return PairDataset(INFO.name, split, task, pairs, partial(read_ids, table=id_table(task.outputs, changed)))
    if mask_map or stored_map:
        raise FastnasError(f"{described}: a mask_map is for masks, not for {task.kind}")
    return PairDataset(INFO.name, split, task, pairs, partial(read_depth, unit=unit))


def _mask_map(values: Any, classes: int, described: Path) -> list[tuple[int, int]]:
    """Pairs of a stored number and the class id that it means, 255 for ignored pixels."""
    try:
        changed = [(int(stored), meant) for stored, meant in values.items()]
        fits = all(0 <= stored <= 255 and type(meant) is int for stored, meant in changed)
        if fits and all(0 <= meant < classes or meant == IGNORE for _, meant in changed):
            return changed
    except (AttributeError, TypeError, ValueError):
        pass
    raise FastnasError(
        f'{described}: mask_map must be like {{"255": 1}}, from numbers of 0 to 255 to class ids of 0 to {classes - 1} '
        f"or {IGNORE}, not {values!r:.80}"
    )
