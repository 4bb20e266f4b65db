"""COCO's evaluation of keypoints, by its own code, on annotations in memory."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR")


@dataclass(frozen=True)
class CocoTruth:
    """Annotated people.

    Attributes:
        content: of an annotation file: images, categories, annotations.
        category: the id of the people's.
    """

    content: Mapping[str, Any]
    category: int

    @classmethod
    def completed(cls, content: Mapping[str, Any], category: int, joints: int) -> CocoTruth:
        """The truth of a file, which may leave out what COCO's own have: crowds, areas, joints of those without any.

        Raises:
            KeyError, TypeError, ValueError: an annotation that is none, or of another number of joints.
        """
        annotations = [_complete(each, joints) for each in content["annotations"] if each["category_id"] == category]
        return cls({**content, "annotations": annotations}, category)

    def compare(self, found: Sequence[Mapping[str, Any]], sigmas: Sequence[float]) -> dict[str, float]:
        """The metrics `NAMES`, NaN where no person is of that size.

        Args:
            found: of each predicted person image_id, keypoints (x, y, confidence of J joints) and score; at least one.
            sigmas: the annotators' spread of each joint, J.
        """
        import numpy as np
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            coco = COCO()
            coco.dataset = dict(self.content)
            coco.createIndex()
            results = coco.loadRes([{**person, "category_id": self.category} for person in found])
            evaluation: Any = COCOeval(coco, results, iouType="keypoints")
            evaluation.params.catIds = [self.category]
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = zip(NAMES, evaluation.stats[: len(NAMES)], strict=True)
        return {name: float(value) if value >= 0 else math.nan for name, value in values}


def _complete(annotation: Mapping[str, Any], joints: int) -> dict[str, Any]:
    """What is compared of an annotation, with the usual values of what it leaves out."""
    keypoints = annotation.get("keypoints", [0, 0, 0] * joints)
    x, y, width, height = annotation.get("bbox", [0, 0, 0, 0])
    if len(keypoints) != 3 * joints:
        raise ValueError(f"annotation {annotation['id']} has {len(keypoints)} keypoint numbers, not {3 * joints}")
    labelled = sum(mark > 0 for mark in keypoints[2::3])
    return {
        **{key: annotation[key] for key in ("id", "image_id", "category_id")},
        "iscrowd": annotation.get("iscrowd", 0),
        "area": annotation.get("area", width * height),
        "bbox": [x, y, width, height],
        "keypoints": keypoints,
        "num_keypoints": annotation.get("num_keypoints", labelled),
    }
