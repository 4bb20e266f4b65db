"""Datasets by name. See `fastnas.data.base` for what a dataset and a sample are.

Each format is a module with two names: `ABOUT`, its description, and `load(root, split, kind, **options)`. Importing
this package costs nothing: torch and the formats are imported when a dataset is opened.
"""

from __future__ import annotations

import difflib
import inspect
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnas.errors import FastnasError

if TYPE_CHECKING:
    from fastnas.data.base import DenseDataset, Sample
    from fastnas.data.description import About
    from fastnas.tasks import Task

__all__ = ["NAMES", "DenseDataset", "Sample", "default_task", "describe", "open_dataset"]

FORMATS = ("voc", "coco", "cityscapes", "camvid", "nyud", "mpii", "keypoints", "folder")
NAMES = ("synthetic", *FORMATS)
"""The names that `open_dataset` knows."""


def open_dataset(
    name: str,
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    task: str | None = None,
    **options: Any,
) -> DenseDataset:
    """Open one split of a dataset.

    Args:
        name: one of `NAMES`.
        root: the folder it is in; `synthetic` has none.
        split: the part of it, such as `train` or `val`.
        task: the kind of labels, for datasets that have several: `segmentation`, `pose` or `depth`.
        options: the dataset's own, see the `load` function of its module.

    Raises:
        FastnasError: an unknown name, split, task or option; a folder that does not hold the dataset; an empty split.
    """
    _require_name(name)
    if name == "synthetic":
        from fastnas.data.synthetic.dataset import SyntheticScenes

        if root is not None:
            raise FastnasError(f"synthetic is generated and has no folder: leave out {root}")
        chosen: dict[str, Any] = {"split": split, **({} if task is None else {"task": task}), **options}
        _require_options(name, SyntheticScenes, chosen)
        return SyntheticScenes(**chosen)

    described = describe(name)
    if split not in described.splits:
        raise FastnasError(f"{name} has no split {split!r}; it has {', '.join(described.splits)}")
    kind = described.kind(task)
    if root is None:
        raise described.missing(None)
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise described.missing(folder)
    load = import_module(f"fastnas.data.formats.{name}").load
    _require_options(name, load, {"root": folder, "split": split, "kind": kind, **options})
    dataset: DenseDataset = load(folder, split, kind, **options)
    return dataset


def describe(name: str) -> About:
    """The description of a dataset on disk; `synthetic` is none."""
    _require_name(name)
    if name == "synthetic":
        raise FastnasError("synthetic is generated as it is read: there are no files to get or to check")
    described: About = import_module(f"fastnas.data.formats.{name}").ABOUT
    return described


def default_task(kind: str) -> Task:
    """The task of an untrained network, as in the paper's tables: 21 classes of VOC, 16 joints of MPII, NYUDv2's depth.

    Args:
        kind: `segmentation`, `pose` or `depth`.
    """
    name = {"segmentation": "voc", "pose": "mpii", "depth": "nyud"}[kind]
    task: Task = import_module(f"fastnas.data.formats.{name}").TASK
    return task


def _require_name(name: str) -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(name.lower(), NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(NAMES)}"
        raise FastnasError(f"there is no dataset {name!r}; {hint}")


def _require_options(name: str, load: Any, values: dict[str, Any]) -> None:
    """The options fit the function, said before it runs."""
    try:
        inspect.signature(load).bind(**values)
    except TypeError as error:
        raise FastnasError(f"dataset {name}: {error}") from error


def __getattr__(name: str) -> Any:
    if name in ("DenseDataset", "Sample"):
        return getattr(import_module("fastnas.data.base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
