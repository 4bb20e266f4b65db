"""The `TaskHead` of each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnas.errors import FastnasError
from fastnas.tasks import Task
from fastnas.tasks.base import TaskHead
from fastnas.tasks.depth import DepthHead
from fastnas.tasks.pose import PoseHead
from fastnas.tasks.segmentation import SegmentationHead

HEADS: dict[str, Callable[[Any], TaskHead]] = {"segmentation": SegmentationHead, "pose": PoseHead, "depth": DepthHead}
"""Kind of a task -> its head."""


def head_for(task: Task) -> TaskHead:
    """The loss, decoding, metrics and drawing of a task."""
    if task.kind not in HEADS:
        raise FastnasError(f"no task of kind {task.kind!r}; there are {', '.join(HEADS)}")
    return HEADS[task.kind](task)
