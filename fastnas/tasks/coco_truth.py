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

    def compare(self, found: Sequence[Mapping[str, Any]], sigmas: Sequence[float]) -> dict[str, float]:
        """The metrics `NAMES`, NaN where no person is of that size.

        Args:
            found: of each predicted person image_id, keypoints (x, y, confidence of J joints) and score; at least one.
            sigmas: the annotators' spread of each joint, J.
        """
        import numpy as np
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        annotations = [_complete(each, len(sigmas)) for each in self.content["annotations"]]
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            coco = COCO()
            coco.dataset = {**self.content, "annotations": annotations}
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
    """An annotation with the fields that COCO's files have and others may leave out."""
    whole = {"bbox": [0, 0, 0, 0], "keypoints": [0, 0, 0] * joints, "iscrowd": 0, **annotation}
    _, _, width, height = whole["bbox"]
    labelled = sum(mark > 0 for mark in whole["keypoints"][2::3])
    return {"area": width * height, "num_keypoints": labelled, **whole}
