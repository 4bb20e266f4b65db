"""Datasets by name; `fastnas.data.base` defines datasets and samples.

Each format is a module with two names: `INFO`, its description, and `load(root, split, kind, **options)`. Torch and the
formats are imported when a dataset is opened, not with this package.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastnas.errors import FastnasError
from fastnas.jetson.files import expand_user
from fastnas.tasks import TASKS, Multi, join_tasks

if TYPE_CHECKING:
    from fastnas.data.base import DenseDataset, Sample
    from fastnas.data.info import DatasetInfo
    from fastnas.tasks import Task

__all__ = ["NAMES", "DataName", "DenseDataset", "Sample", "default_task", "describe", "open_dataset"]

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
        root: its folder; None for `synthetic`.
        split: such as `train` or `val`; for datasets that are divided by lists, also the name of any such list.
        task: `segmentation`, `pose` or `depth`, for datasets with several kinds of labels.
        options: of the dataset, see the `load` function of its module.

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

    info = describe(name)
    if split not in info.splits and not info.lists:
        raise info.no_split(split)
    kind = info.kind(task)
    if root is None:
        raise info.missing(None)
    folder = expand_user(root)
    if not folder.is_dir():
        raise info.missing(folder)
    load = import_module(f"fastnas.data.formats.{name}").load
    _require_options(name, load, {"root": folder, "split": split, "kind": kind, **options})
    dataset: DenseDataset = load(folder, split, kind, **options)
    return dataset


@dataclass(frozen=True)
class DataName:
    """A dataset as commands and recipes name it: `[KIND=]NAME[@LABEL][:SPLIT]`.

    Attributes:
        kind: of the task whose labels are read; empty for that of the network or of the dataset.
        name: one of `NAMES`.
        key: `NAME[@LABEL]`, the name of its folder: a label tells several datasets of one name apart.
        split: empty for that which a command takes by default.
    """

    kind: str
    name: str
    key: str
    split: str

    @classmethod
    def parse(cls, text: str) -> DataName:
        """The name in a text.

        Raises:
            FastnasError: a kind of task that does not exist.
        """
        kind, equals, rest = text.rpartition("=")
        key, _, split = rest.partition(":")
        if equals and kind not in TASKS:
            raise FastnasError(f"{text}: there is no task {kind!r}; there are {', '.join(TASKS)}")
        return cls(kind, key.partition("@")[0], key, split)

    @property
    def without_split(self) -> str:
        """The name as text, but for the split."""
        return f"{self.kind}={self.key}" if self.kind else self.key

    def open(self, roots: Mapping[str, str], split: str, kind: str | None = None) -> DenseDataset:
        """Open the dataset.

        Args:
            roots: folders by key.
            split: where the name has none.
            kind: where the name has none; None for the dataset's default.

        Raises:
            FastnasError: the folder of a label is not given; or as `open_dataset`.
        """
        if self.key not in roots and self.key != self.name:
            raise FastnasError(f"the folder of {self.key} is needed: --root {self.key}=DIR")
        return open_dataset(self.name, roots.get(self.key), self.split or split, self.kind or kind)

    def open_at(self, root: str | os.PathLike[str] | None, split: str, kind: str | None = None) -> DenseDataset:
        """Open the dataset in its folder, None where that is not given; otherwise as `open`."""
        return self.open({} if root is None else {self.key: os.fspath(root)}, split, kind)


def describe(name: str) -> DatasetInfo:
    """The description of a dataset on disk, which `synthetic` is not."""
    _require_name(name)
    if name == "synthetic":
        raise FastnasError("synthetic is generated as it is read: there are no files to get or to check")
    info: DatasetInfo = import_module(f"fastnas.data.formats.{name}").INFO
    return info


def default_task(kind: str) -> Task:
    """The task of an untrained network, as in the paper's tables: 21 classes of VOC, 16 joints of MPII, NYUDv2's depth.

    Args:
        kind: `segmentation`, `pose`, `depth`, or `multi` for all three.
    """
    if kind == Multi.kind:
        return join_tasks(map(default_task, TASKS))
    name = {"segmentation": "voc", "pose": "mpii", "depth": "nyud"}[kind]
    task: Task = import_module(f"fastnas.data.formats.{name}").TASK
    return task


def _require_name(name: str) -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(name.lower(), NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(NAMES)}"
        raise FastnasError(f"there is no dataset {name!r}; {hint}")


def _require_options(name: str, load: Any, values: dict[str, Any]) -> None:
    """Raise where `values` do not fit the signature of `load`."""
    try:
        inspect.signature(load).bind(**values)
    except TypeError as error:
        raise FastnasError(f"dataset {name}: {error}") from error


def __getattr__(name: str) -> Any:
    if name in ("DenseDataset", "Sample"):
        return getattr(import_module("fastnas.data.base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
