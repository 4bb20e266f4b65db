"""Tasks survive a round trip through JSON, and refuse values that make no sense."""

from __future__ import annotations

import json

import pytest

from fastnas.errors import FastnasError
from fastnas.tasks import Depth, Pose, Segmentation, Task, task_from_dict

SEGMENTATION = Segmentation(("sky", "road"), ((0, 0, 255), (128, 64, 128)))
POSE = Pose(("left_hand", "right_hand", "head"), ((0, 2), (1, 2)), (1, 0, 2))
DEPTH = Depth(0.7, 10.0)


@pytest.mark.parametrize(("task", "outputs"), [(SEGMENTATION, 2), (POSE, 3), (DEPTH, 1)], ids=lambda v: str(v)[:12])
def test_a_task_survives_json(task: Task, outputs: int):
    assert task_from_dict(json.loads(json.dumps(task.to_dict()))) == task
    assert hash(task_from_dict(task.to_dict())) == hash(task)
    assert task.outputs == outputs
    assert task.to_dict()["kind"] == task.kind


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "one of segmentation, pose, depth, multi, not None"),
        ({"kind": "flow"}, "not 'flow'"),
        ({"kind": ["depth"]}, "a task needs a kind"),
        ([], "a task needs a kind"),
        ({"kind": "depth", "minimum": 1}, "has the fields maximum, minimum, not minimum"),
        ({"kind": "depth", "minimum": 1, "maximum": 2, "unit": "m"}, "not maximum, minimum, unit"),
        ({"kind": "depth", "minimum": 2, "maximum": 1}, "minimum < maximum"),
        ({"kind": "depth", "minimum": "1", "maximum": 2}, "wrong type"),
        ({"kind": "depth", "minimum": 1, "maximum": float("nan")}, "minimum < maximum"),
        ({"kind": "segmentation", "classes": [], "colours": []}, "1 to 255 classes"),
        ({"kind": "segmentation", "classes": ["a"], "colours": []}, "1 classes and 0 colours"),
        ({"kind": "segmentation", "classes": ["a"], "colours": [[0, 0, 256]]}, "colour of class 'a'"),
        ({"kind": "segmentation", "classes": ["a"], "colours": [7]}, "wrong type"),
        ({"kind": "pose", "joints": [], "skeleton": [], "mirror": []}, "at least one joint"),
        ({"kind": "pose", "joints": ["a", "b"], "skeleton": [], "mirror": [0]}, "mirror must pair"),
        ({"kind": "pose", "joints": ["a", "b", "c"], "skeleton": [], "mirror": [1, 2, 0]}, "mirror must pair"),
        ({"kind": "pose", "joints": ["a", "b"], "skeleton": [[0, 2]], "mirror": [1, 0]}, "numbered 0 to 1"),
    ],
)
def test_a_senseless_task_is_refused_in_one_line(values: dict, complaint: str):
    with pytest.raises(FastnasError, match=complaint) as caught:
        task_from_dict(values)
    assert "\n" not in str(caught.value)
