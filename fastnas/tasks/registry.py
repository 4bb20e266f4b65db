"""The `TaskHead` of each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastnas.errors import FastnasError
from fastnas.tasks import Multi, Task
from fastnas.tasks.base import TaskHead
from fastnas.tasks.depth import DepthHead
from fastnas.tasks.multi import LOSS_WEIGHTS, MultiHead
from fastnas.tasks.pose import PoseHead
from fastnas.tasks.segmentation import SegmentationHead

HEADS: dict[str, Callable[[Any], TaskHead]] = {"segmentation": SegmentationHead, "pose": PoseHead, "depth": DepthHead}
"""Kind of a task -> its head."""


def head_for(task: Task, loss_weights: Mapping[str, float] = LOSS_WEIGHTS) -> TaskHead:
    """The loss, decoding, metrics and drawing of a task.

    Args:
        task: what a network predicts.
        loss_weights: of the losses of a multi task, by kind.
    """
    if isinstance(task, Multi):
        return MultiHead(task, [head_for(each) for each in task.tasks], loss_weights)
    if task.kind not in HEADS:
        raise FastnasError(f"no task of kind {task.kind!r}; there are {', '.join(HEADS)}")
    return HEADS[task.kind](task)
