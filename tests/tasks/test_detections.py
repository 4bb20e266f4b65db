"""Poses in detected boxes: the file, scores, suppression of duplicates, COCO's metrics over all annotated images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from fastnas.cli import main
from fastnas.data import open_dataset
from fastnas.data.detections import DetectedPeople, read_detections
from fastnas.data.transforms import eval_transform
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import save_model
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks.detection_metrics import DetectionMetrics, Found, similarity, suppressed
from fastnas.tasks.pose_metrics import sigma
from fastnas.tasks.registry import head_for
from tests.helpers.datasets import dump, make_coco

TRUE = torch.tensor([[[1.0, 2], [3, 4], [10, 8], [7, 4]]])
"""The joints of everybody in `make_coco`'s two annotated images."""
BOX = {"category_id": 1, "bbox": [2, 3, 10, 8], "score": 0.5}
SIGMAS = [0.079] * 4


@pytest.fixture
def coco(tmp_path: Path) -> Any:
    return open_dataset("coco", make_coco(tmp_path), "val", task="pose")


def detected(coco: Any, tmp_path: Path, *boxes: dict[str, Any], minimum: float = 0.0) -> DetectedPeople:
    path = tmp_path / "detections.json"
    dump(path, [{**BOX, **box} for box in boxes])
    return read_detections(path, coco, minimum)


def metrics_of(people: DetectedPeople) -> DetectionMetrics:
    return DetectionMetrics(people.task, head_for(people.task).decode, people.scores, people.truth)


def batch_of(people: DetectedPeople, *indices: int) -> dict[str, Any]:
    """What evaluation makes of samples, uncropped: joints are predicted in the image's own coordinates."""
    samples = [people[index] for index in indices]
    return {
        "name": [sample["name"] for sample in samples],
        "image": torch.zeros(len(samples), 3, 16, 32),
        "to_image": torch.eye(3)[None, :2].repeat(len(samples), 1, 1),
        "keypoints": torch.stack([torch.as_tensor(sample["keypoints"]) for sample in samples]),
        "visible": torch.stack([sample["visible"] for sample in samples]),
        "image_id": torch.tensor([sample["image_id"] for sample in samples]),
    }


def joints(*confidences: float, shift: float = 0.0) -> torch.Tensor:
    return torch.cat([TRUE + shift, torch.tensor(confidences)[None, :, None]], 2)


def test_boxes_of_people_above_the_score_are_the_samples(coco: Any, tmp_path: Path) -> None:
    people = detected(
        coco, tmp_path, {"image_id": 2}, {"image_id": 1, "category_id": 63}, {"image_id": 1, "score": 0.2}, minimum=0.3
    )
    assert len(people) == 1
    sample = people[0]
    assert sample["box"].tolist() == [[2, 3, 12, 11]]
    assert sample["image_id"] == 2
    assert not sample["visible"].any()
    assert people.scores == {sample["name"]: 0.5}
    assert eval_transform(people.task, (64, 64))(sample)["image"].shape == (3, 64, 64)


def test_everybody_in_the_annotated_images_counts(coco: Any, tmp_path: Path) -> None:
    """Of two people one is found, exactly: precision is 1 up to a recall of a half, in 51 of COCO's 101 steps."""
    people = detected(coco, tmp_path, {"image_id": 1}, {"image_id": 2})
    one, both = metrics_of(people), metrics_of(people)
    one.add(joints(1, 1, 1, 1), batch_of(people, 0))
    assert one.compute()["AP"] == pytest.approx(51 / 101)
    assert one.compute()["AR"] == 0.5
    both.add(joints(1, 1, 1, 1), batch_of(people, 1))
    both.merge(one)
    assert both.compute()["AP"] == pytest.approx(1)


def test_the_score_is_the_detectors_times_the_confidence_of_sure_joints(coco: Any, tmp_path: Path) -> None:
    people = detected(coco, tmp_path, {"image_id": 1}, {"image_id": 1, "score": 0.9})
    metrics = metrics_of(people)
    metrics.add(torch.cat([joints(0.19, 0.4, 0.8, 0.1), joints(0.1, 0.1, 0.19, 0.0)]), batch_of(people, 0, 1))
    assert [each.score for each in metrics.found] == pytest.approx([0.5 * 0.6, 0])
    assert metrics.found[0].area == 16 * 32


def test_a_wrong_pose_of_high_score_costs_precision(coco: Any, tmp_path: Path) -> None:
    """A false positive before the only true one of two people: half the precision at every recall that is reached."""
    people = detected(coco, tmp_path, {"image_id": 1, "score": 0.9}, {"image_id": 1, "score": 0.3})
    metrics = metrics_of(people)
    metrics.add(torch.cat([joints(1, 1, 1, 1, shift=60), joints(1, 1, 1, 1)]), batch_of(people, 0, 1))
    assert metrics.compute()["AP"] == pytest.approx(51 / 101 / 2)


def test_duplicates_are_suppressed() -> None:
    """Against the formula; a pose survives a better one up to a similarity of 0.9."""
    generator = np.random.default_rng(0)
    poses = [
        Found(
            1, np.concatenate([generator.normal(size=(4, 2)) * spread, np.ones((4, 1))], 1), float(score), float(area)
        )
        for spread, score, area in zip(
            [1, 1, 1, 8, 1], [0.3, 0.9, 0.5, 0.8, 0.7], [900, 1600, 2500, 400, 300], strict=True
        )
    ]

    def alike(a: Found, b: Found) -> float:
        terms = []
        for (x, y, _), (u, v, _), spread in zip(a.joints, b.joints, SIGMAS, strict=True):
            squared = (x - u) ** 2 + (y - v) ** 2
            terms.append(math.exp(-squared / (2 * spread) ** 2 / ((a.area + b.area) / 2) / 2))
        return sum(terms) / len(terms)

    assert similarity(poses[0], poses[1], SIGMAS) == pytest.approx(alike(poses[0], poses[1]))
    kept: list[Found] = []
    for pose in sorted(poses, key=lambda each: -each.score):
        if all(alike(pose, better) <= 0.9 for better in kept):
            kept.append(pose)
    assert [each.score for each in suppressed(poses, SIGMAS)] == [each.score for each in kept]
    assert 1 < len(kept) < len(poses)


def test_suppression_uses_the_spread_of_the_joints(coco: Any) -> None:
    assert [sigma(joint) for joint in coco.task.joints] == SIGMAS


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "cannot be read as JSON"),
        ('{"a": 1}', "is no file of detections in COCO's format"),
        ('[{"image_id": 1}]', "is no file of detections in COCO's format: KeyError 'category_id'"),
        (json.dumps([{**BOX, "image_id": 7}]), "image 7 is not in"),
        (json.dumps([{**BOX, "image_id": 1, "bbox": [1, 2, 0, 4]}]), "detection 0 has the box [1, 2, 0, 4]"),
        (json.dumps([{**BOX, "image_id": 1, "bbox": [1, 2]}]), "is no file of detections"),
        (json.dumps([{**BOX, "image_id": 1, "category_id": 3}]), "has no box of category 1 with a score of at least 0"),
    ],
)
def test_errors_name_the_file(content: str, line: str, coco: Any, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(FastnasError, match=r"boxes\.json") as error:
        read_detections(path, coco)
    assert line in str(error.value)


def test_annotations_that_cannot_be_compared_with_are_named_before_anything_is_predicted(
    coco: Any, tmp_path: Path
) -> None:
    content = json.loads(coco.annotations.read_text())
    crowd = next(each for each in content["annotations"] if each["iscrowd"])
    for broken in ({"keypoints": [1, 2]}, {"bbox": None}):
        others = [each for each in content["annotations"] if each is not crowd]
        dump(coco.annotations, {**content, "annotations": [*others, {**crowd, **broken}]})
        with pytest.raises(FastnasError, match=r"person_keypoints_val2017\.json cannot be compared with"):
            detected(coco, tmp_path, {"image_id": 1})
    bare = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1}
    dump(coco.annotations, {**content, "annotations": [*others, bare]})
    people = detected(coco, tmp_path, {"image_id": 1})
    metrics = metrics_of(people)
    metrics.add(joints(1, 1, 1, 1), batch_of(people, 0))
    assert metrics.compute()["AP50"] == pytest.approx(51 / 101)


def test_command(coco: Any, tmp_path: Path) -> None:
    spec = ModelSpec("arch2", coco.task, channels=8, sep_repeats=1)
    save_model(tmp_path / "m.safetensors", build(spec), spec, recipe={"val_size": [64, 64]})
    detected(coco, tmp_path, {"image_id": 1}, {"image_id": 2, "score": 0.1})

    def run(*more: str) -> Result:
        return CliRunner().invoke(
            main,
            ["eval", str(tmp_path / "m.safetensors"), "--data", "coco", "--root", str(tmp_path), "--workers", "0",
             "--detections", str(tmp_path / "detections.json"), "--accelerator", "cpu", *more],
        )  # fmt: skip

    result = run("--json", "--detection-score", "0.2")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told["metrics"]) == {"AP", "AP50", "AP75", "APm", "APl", "AR"}
    assert told["images"] == 1
    assert "AP50" in run().output
    assert "leave out --limit" in run("--limit", "1").output
    other = CliRunner().invoke(
        main, ["eval", str(tmp_path / "m.safetensors"), "--detections", "x.json", "--accelerator", "cpu"]
    )
    assert other.exit_code == 1
