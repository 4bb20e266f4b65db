"""From the value that names a task (`fastnas.tasks`) to its `TaskHead`."""

from __future__ import annotations

from fastnas.tasks import Depth, Pose, Segmentation, Task
from fastnas.tasks.base import TaskHead
from fastnas.tasks.depth import DepthHead
from fastnas.tasks.pose import PoseHead
from fastnas.tasks.segmentation import SegmentationHead


def head_for(task: Task) -> TaskHead:
    """The loss, decoding, metrics and drawing of a task."""
    match task:
        case Segmentation():
            return SegmentationHead(task)
        case Pose():
            return PoseHead(task)
        case Depth():
            return DepthHead(task)
