"""Metrics of human pose: PCKh and PCK by joint group, COCO's average precision.

Predictions are taken back to the image as loaded before they are compared, so head sizes, areas and COCO's classes of
person size mean what their datasets say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastnas.tasks import Pose
from fastnas.tasks.base import Batch, Metrics, Size
from fastnas.tasks.coco_truth import CocoTruth
from fastnas.tasks.joint_names import words

GROUPS = {
    "head": {"head", "neck", "nose", "eye", "ear"},
    "shoulder": {"shoulder"},
    "elbow": {"elbow"},
    "wrist": {"wrist"},
    "hip": {"hip"},
    "knee": {"knee"},
    "ankle": {"ankle"},
}
"""Groups of MPII's table -> words in joints' names. As there, pelvis and thorax are in no group and do not count.

Where a head top is labelled, as in MPII, the group `head` is that joint alone, and the neck counts in the mean of all.
"""

HEAD_TOP = {"head", "top"}
"""The words of that joint."""

SCRIPTS_TENTH = 0.11
"""The limit behind the published `Mean@0.1`: Xiao et al. read the twelfth of the limits 0, 0.01, 0.02 and so on."""

SIGMAS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107,
    "knee": 0.087, "ankle": 0.089, "head": 0.079, "neck": 0.079, "thorax": 0.079, "pelvis": 0.107,
}  # fmt: skip
"""Annotators' spread by word in the joint's name, relative to the square root of the person's area: COCO's, CrowdPose's
for head and neck, and for thorax and pelvis the joints beside them."""

OTHER_SIGMA = 0.079
"""The spread of a joint that has none of these words."""


SURE = 0.2
"""Joints of a higher confidence make the score of a pose."""


@dataclass(frozen=True)
class PersonResult:
    """One person's joints in pixels of the image as loaded: predicted [J, 3] and true [J, 2]."""

    predicted: Tensor
    true: Tensor
    visible: Tensor
    head_size: float
    """Pixels; NaN where unknown."""
    area: float
    """Square pixels; NaN where unknown."""
    image_id: int
    """Below 0 where unknown."""


class PoseMetrics(Metrics):
    """Metrics over all people, computed at the end."""

    def __init__(self, task: Pose, decode: Callable[[Tensor, Size], Tensor]) -> None:
        super().__init__(decode)
        self.joints = task.joints
        self.people: list[PersonResult] = []

    def add(self, prediction: Tensor, batch: Batch) -> None:
        """Keep joints [N, J, 3] beside `keypoints` [N, J, 2]; `to_image` [N, 2, 3] takes both to the loaded image."""
        to_image = batch["to_image"].cpu()
        prediction = prediction.cpu().float()
        predicted = torch.cat([_move(to_image, prediction[..., :2]), prediction[..., 2:]], -1)
        true, visible = _move(to_image, batch["keypoints"].cpu()), batch["visible"].cpu()
        unknown = {"head_size": math.nan, "area": math.nan, "image_id": -1}
        extras = (batch[key].tolist() if key in batch else [value] * len(true) for key, value in unknown.items())
        self.people += [PersonResult(*person) for person in zip(predicted, true, visible, *extras, strict=True)]

    def merge(self, other: PoseMetrics) -> None:
        """Add the other's people."""
        self.people += other.people

    def compute(self) -> dict[str, float]:
        """Fractions of 1, those for which the labels suffice.

        Returns:
            `PCKh@0.5` and `PCKh@0.1` if heads are measured, `PCK@0.2` if there are shoulders and hips: the share of
            joints within that part of the head's size or the torso's length, and `.../GROUP` for each group of joints.
            `PCKh@0.11` over all joints, which is what the published tables of MPII call `Mean@0.1`.
            `AP`, `AP50`, `AP75`, `APm`, `APl` and `AR` by COCO's rules if every person's area is known.
        """
        metrics: dict[str, float] = {}
        if not self.people:
            return metrics
        heads = torch.tensor([person.head_size for person in self.people])
        if heads.isfinite().any():
            metrics |= self._pck("PCKh", heads, 0.5) | self._pck("PCKh", heads, 0.1)
            tenth = f"PCKh@{SCRIPTS_TENTH}"
            metrics[tenth] = self._pck("PCKh", heads, SCRIPTS_TENTH)[tenth]
        torsos = torch.stack([torso_length(self.joints, person.true, person.visible) for person in self.people])
        if torsos.isfinite().any():
            metrics |= self._pck("PCK", torsos, 0.2)
        if all(person.area > 0 for person in self.people):
            metrics |= average_precision(self.people, [sigma(joint) for joint in self.joints])
        return metrics

    def _pck(self, name: str, unit: Tensor, limit: float) -> dict[str, float]:
        """The share of joints within `limit` of each person's `unit` [people], NaN where that person does not count.

        Over the body the joints are pooled; a group is the mean of its joints. Both as in MPII's table, and computed in
        the order and precision of Xiao et al., so that a joint at the limit falls on the same side.
        """
        predicted = torch.stack([person.predicted[:, :2] for person in self.people]).double()
        true = torch.stack([person.true for person in self.people]).double()
        counted = torch.stack([person.visible for person in self.people]) & unit.isfinite()[:, None]
        hits = ((predicted - true).norm(dim=-1) / unit[:, None].double() <= limit) & counted
        hits_by_joint, count_by_joint = hits.sum(0).double(), counted.sum(0).double()
        groups = {
            group: [j for j, joint in enumerate(self.joints) if parts.intersection(words(joint))]
            for group, parts in GROUPS.items()
        }
        tops = [j for j, joint in enumerate(self.joints) if HEAD_TOP.issubset(words(joint))]
        scored = sorted(j for members in groups.values() for j in members) or list(range(len(self.joints)))
        metrics = {f"{name}@{limit}": hits_by_joint[scored].sum() / count_by_joint[scored].sum()}
        shares = hits_by_joint / count_by_joint
        metrics |= {
            f"{name}@{limit}/{group}": shares[members].nanmean()
            for group, members in (groups | ({"head": tops} if tops else {})).items()
            if members
        }
        return {key: float(value) for key, value in metrics.items()}


def torso_length(joints: Sequence[str], points: Tensor, visible: Tensor) -> Tensor:
    """From one shoulder to the other side's hip, pixels; NaN if neither diagonal of `points` [J, 2] is visible."""
    for side, other in (("left", "right"), ("right", "left")):
        shoulder, hip = _find(joints, side, "shoulder"), _find(joints, other, "hip")
        if shoulder is not None and hip is not None and visible[shoulder] and visible[hip]:
            return (points[shoulder] - points[hip]).norm()
    return torch.tensor(math.nan)


def average_precision(people: Sequence[PersonResult], sigmas: Sequence[float]) -> dict[str, float]:
    """COCO's metrics for people found in their true boxes, from the object keypoint similarity with `sigmas` [J].

    A prediction's score is the mean confidence of its joints above `SURE`. People of the same `image_id` compete for
    the same truth, as in COCO; those of unknown image are alone in theirs.
    """
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, person in enumerate(people, start=1):
        image_id = person.image_id if person.image_id >= 0 else -number
        true = torch.cat([person.true, 2.0 * person.visible[:, None]], 1) * person.visible[:, None]
        confidence = person.predicted[:, 2]
        sure = confidence[confidence > SURE]
        # No one is a crowd. The box serves only people without a labelled joint, who are ignored.
        truth.append({
            "id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0, "area": person.area,
            "bbox": [0, 0, 0, 0], "keypoints": true.flatten().tolist(), "num_keypoints": int(person.visible.sum()),
        })  # fmt: skip
        found.append({
            "image_id": image_id, "score": float(sure.mean()) if len(sure) else 0.0,
            "keypoints": person.predicted.flatten().tolist(),
        })  # fmt: skip
    images = [{"id": image_id} for image_id in {person["image_id"] for person in truth}]
    content = {"images": images, "categories": [{"id": 1, "name": "person"}], "annotations": truth}
    return CocoTruth(content, category=1).compare(found, sigmas)


def sigma(joint: str) -> float:
    """The annotators' spread of a joint, by its name."""
    return next((SIGMAS[word] for word in SIGMAS if word in words(joint)), OTHER_SIGMA)


def _find(joints: Sequence[str], side: str, part: str) -> int | None:
    """The joint that is that part on that side, such as `left_hip`, `LHip` or `hip-l`."""
    return next((index for index, joint in enumerate(joints) if set(words(joint)) == {side, part}), None)


def _move(matrix: Tensor, points: Tensor) -> Tensor:
    """Points [N, J, 2] moved by a matrix each, [N, 2, 3]."""
    return points @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]
