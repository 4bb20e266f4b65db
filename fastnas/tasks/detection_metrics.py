"""COCO's average precision of poses in detected boxes, as Xiao et al. compute it.

B. Xiao, H. Wu, Y. Wei, "Simple baselines for human pose estimation and tracking", ECCV 2018, Section 4.1; the limits
are those of the authors' code. Poses are scored again, near duplicates are suppressed, and what is left is compared
with everybody in the annotated images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fastnas.tasks import Pose
from fastnas.tasks.base import Batch, Size
from fastnas.tasks.coco_truth import CocoTruth
from fastnas.tasks.pose_metrics import SURE, PoseMetrics, sigma

Array = npt.NDArray[np.float64]

SAME = 0.9
"""Two poses of an image with a similarity above this are one person."""


class Found(NamedTuple):
    """A pose in the image as loaded."""

    image_id: int
    joints: Array
    """[J, 3]: x, y, confidence."""
    score: float
    """The detector's times the mean confidence of the joints above `SURE`."""
    area: float
    """Square pixels of the crop, the box grown to its aspect ratio and by its margin."""


class DetectionMetrics(PoseMetrics):
    """AP and AR of poses in detected boxes.

    Args:
        task, decode: see `PoseMetrics`.
        scores: the detector's, by the name of a sample.
        truth: the annotations.
    """

    def __init__(
        self, task: Pose, decode: Callable[[Tensor, Size], Tensor], scores: Mapping[str, float], truth: CocoTruth
    ) -> None:
        super().__init__(task, decode)
        self.scores, self.truth = scores, truth
        self.sigmas = [sigma(joint) for joint in task.joints]
        self.found: list[Found] = []

    def add(self, prediction: Tensor, batch: Batch) -> None:
        """Keep joints [N, J, 3], moved to the loaded image."""
        super().add(prediction, batch)
        height, width = batch["image"].shape[-2:]
        people = self.people[-len(prediction) :]
        for name, matrix, person in zip(batch["name"], batch["to_image"].cpu().double(), people, strict=True):
            joints = person.predicted.double().numpy()
            sure = joints[joints[:, 2] > SURE, 2]
            score = self.scores[name] * (float(sure.mean()) if len(sure) else 0.0)
            area = height * width * abs(float(matrix[:, :2].det()))
            self.found.append(Found(person.image_id, joints, score, area))

    def merge(self, other: PoseMetrics) -> None:
        """Add the other's people."""
        super().merge(other)
        assert isinstance(other, DetectionMetrics)
        self.found += other.found

    def compute(self) -> dict[str, float]:
        """`AP`, `AP50`, `AP75`, `APm`, `APl` and `AR`, fractions of 1."""
        by_image: defaultdict[int, list[Found]] = defaultdict(list)
        for each in self.found:
            by_image[each.image_id].append(each)
        kept = [each for people in by_image.values() for each in suppressed(people, self.sigmas)]
        results = [
            {"image_id": each.image_id, "keypoints": each.joints.flatten().tolist(), "score": each.score}
            for each in kept
        ]
        return self.truth.compare(results, self.sigmas)


def suppressed(people: Sequence[Found], sigmas: Sequence[float]) -> list[Found]:
    """The poses of one image by falling score, without those that are the same person as one before them."""
    left = sorted(people, key=lambda each: -each.score)
    kept = []
    while left:
        best, *others = left
        kept.append(best)
        left = [each for each in others if similarity(best, each, sigmas) <= SAME]
    return kept


def similarity(a: Found, b: Found, sigmas: Sequence[float]) -> float:
    """The object keypoint similarity of two poses, over all their joints and by the mean of their areas."""
    distance = ((a.joints[:, :2] - b.joints[:, :2]) ** 2).sum(1)
    spread = (2 * np.asarray(sigmas)) ** 2
    return float(np.exp(-distance / (2 * spread * (a.area + b.area) / 2)).mean())
