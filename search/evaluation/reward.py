"""The reward of a candidate on meta-val, between 0 and 1, higher is better; and the metrics behind it."""

from __future__ import annotations

import math

from fastnas.tasks import Pose, Segmentation, Task
from fastnas.tasks.base import Metrics
from fastnas.tasks.segmentation import SegmentationMetrics

SEGMENTATION = ("mean_iou", "frequency_weighted_iou", "mean_accuracy")
DEPTH = ("delta1", "delta2", "delta3")


def reward(task: Task, metrics: Metrics) -> tuple[float, dict[str, float]]:
    """The reward, and the metrics it is computed from.

    - Segmentation: the geometric mean of mean IoU, frequency-weighted IoU and mean accuracy, without the background
      class (paper Sect. 4.1), which is class 0 where it has that name; street scenes have none, and all classes count.
    - Depth: the geometric mean of delta1, delta2 and delta3, the shares of pixels within a factor of 1.25, 1.25^2
      and 1.25^3 of the truth. Like the metrics above they are between 0 and 1, from strict to lenient: the lenient ones
      distinguish poor candidates, the strict one good ones. Errors in metres are not bounded.
    - Pose: PCKh@0.5, the share of joints within half a head size of the truth; PCK@0.2, within a fifth of the torso,
      where heads are not measured. Stricter thresholds and COCO's AP are 0 for nearly every candidate after a few
      epochs.

    Returns:
        The reward, NaN where the images contain nothing that it measures; and the metrics by name.
    """
    if isinstance(metrics, SegmentationMetrics) and isinstance(task, Segmentation):
        values = metrics.compute(background=task.classes[0] != "background")
        names: tuple[str, ...] = SEGMENTATION
    else:
        values = metrics.compute()
        names = (("PCKh@0.5",) if "PCKh@0.5" in values else ("PCK@0.2",)) if isinstance(task, Pose) else DEPTH
    chosen = {name: values.get(name, math.nan) for name in names}
    return math.prod(chosen.values()) ** (1 / len(chosen)), chosen
