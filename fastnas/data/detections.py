"""People where a detector found them, instead of in their labelled boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastnas.data.base import PersonAnnotation, PoseDataset, Sample
from fastnas.data.formats.keypoints import CocoPeople, person_category
from fastnas.data.readers import read_json
from fastnas.errors import FastnasError
from fastnas.tasks.coco_truth import CocoTruth


class DetectedPeople(PoseDataset):
    """Every sample is one detected box; no joint is labelled.

    Attributes:
        scores: the detector's, by the name of the sample.
        truth: what is found is compared with it: everybody in the annotation file, in all its images.
    """

    def __init__(
        self, labelled: CocoPeople, people: list[PersonAnnotation], scores: list[float], truth: CocoTruth
    ) -> None:
        super().__init__(labelled.name, labelled.split, labelled.task, people, labelled.annotations)
        self.scores = {person.name: score for person, score in zip(people, scores, strict=True)}
        self.truth = truth

    def __getitem__(self, index: int) -> Sample:
        sample, noted = super().__getitem__(index), self.people[index].labelled
        height, width = sample["image"].shape[-2:]
        if noted not in (None, (width, height)):
            raise FastnasError(f"{self.people[index].image} is not of the size that {self.annotations} notes")
        return sample


def read_detections(path: Path, labelled: CocoPeople, minimum: float = 0.0) -> DetectedPeople:
    """The people of a detection file in COCO's format of results: image_id, category_id, bbox and score for each.

    Args:
        path: the file.
        labelled: the same images with their annotations.
        minimum: boxes of a lower score are left out, as are those of other categories.

    Raises:
        FastnasError: not of that format, an image that the annotations do not list, or no box is left.
    """
    content, entries = read_json(labelled.annotations), read_json(path)
    category = person_category(content, labelled.annotations)["id"]
    files, people, scores = labelled.files(content), [], []
    try:
        truth = CocoTruth.completed(content, category, labelled.task.outputs)
    except (KeyError, TypeError, ValueError) as error:
        raise FastnasError(f"{labelled.annotations} cannot be compared with: {type(error).__name__} {error}") from error
    try:
        for number, entry in enumerate(entries):
            if entry["category_id"] != category or entry["score"] < minimum:
                continue
            if entry["image_id"] not in files:
                raise FastnasError(f"{path}: image {entry['image_id']} is not in {labelled.annotations}")
            people.append(_person(number, entry, *files[entry["image_id"]], labelled.task.outputs))
            scores.append(float(entry["score"]))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise FastnasError(
            f"{path} is no file of detections in COCO's format: {type(error).__name__} {error}"
        ) from error
    if not people:
        raise FastnasError(f"{path} has no box of category {category} with a score of at least {minimum:g}")
    return DetectedPeople(labelled, people, scores, truth)


def _person(number: int, entry: dict[str, Any], image: Path, noted: Any, joints: int) -> PersonAnnotation:
    x, y, width, height = (float(value) for value in entry["bbox"])
    if not (np.isfinite([x, y, width, height, entry["score"]]).all() and width > 0 and height > 0):
        raise ValueError(f"detection {number} has the box {entry['bbox']} and score {entry['score']}")
    return PersonAnnotation(
        name=f"{image.stem}-{number}",
        image=image,
        keypoints=np.zeros((joints, 2), dtype=np.float32),
        visible=np.zeros(joints, dtype=bool),
        box=(x, y, x + width, y + height),
        image_id=entry["image_id"],
        labelled=noted,
    )
