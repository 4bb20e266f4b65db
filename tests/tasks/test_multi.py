"""Several tasks of one network: each sees its own channels and its own samples, and nothing else."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from fastnas.data.synthetic.dataset import TASKS, SyntheticScenes
from fastnas.data.transforms import collate, eval_transform, train_transform
from fastnas.errors import FastnasError
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks import IGNORE, Depth, Multi, Pose, Segmentation, channels_of, join_tasks, task_from_dict
from fastnas.tasks.base import one_of
from fastnas.tasks.registry import head_for

SEGMENTATION = Segmentation(("sky", "road", "car"), ((0, 0, 255), (90, 90, 90), (255, 0, 0)))
POSE = Pose(("left_shoulder", "right_shoulder", "left_hip", "right_hip"), ((0, 1), (2, 3)), (1, 0, 3, 2))
DEPTH = Depth(0.5, 10.0)
MULTI = Multi((SEGMENTATION, POSE, DEPTH))
SCENES = Multi((TASKS["segmentation"], TASKS["pose"], TASKS["depth"]))  # type: ignore[arg-type]


def batch_of(*kinds: str) -> dict:
    """Training samples of the generated scenes, one of each kind."""
    transform = train_transform(SCENES, (64, 96))
    torch.manual_seed(0)
    return collate([transform(SyntheticScenes("train", kind, (96, 96), count=1)[0]) for kind in kinds])


def test_the_channels_are_those_of_the_tasks():
    assert MULTI.outputs == 3 + 4 + 1
    assert channels_of(MULTI) == {"segmentation": slice(0, 3), "pose": slice(3, 7), "depth": slice(7, 8)}
    assert channels_of(DEPTH) == {"depth": slice(0, 1)}
    assert MULTI.head_stds == ((3, None), (4, 0.001), (1, None))
    assert join_tasks([DEPTH, SEGMENTATION, Depth(1, 2), POSE]) == MULTI
    assert join_tasks([DEPTH, DEPTH]) == DEPTH


def test_it_survives_json_and_is_hashable():
    assert task_from_dict(json.loads(json.dumps(MULTI.to_dict()))) == MULTI
    assert hash(task_from_dict(MULTI.to_dict())) == hash(MULTI)
    spec = ModelSpec("arch2", MULTI, channels=8)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kind": "multi"}, "a list of tasks, nothing else"),
        ({"kind": "multi", "tasks": 3}, "a list of tasks, nothing else"),
        ({"kind": "multi", "tasks": [], "weights": []}, "a list of tasks, nothing else"),
        ({"kind": "multi", "tasks": []}, "two or more tasks"),
        ({"kind": "multi", "tasks": [DEPTH.to_dict()]}, "two or more tasks of different kinds, not depth"),
        ({"kind": "multi", "tasks": [DEPTH.to_dict()] * 2}, "different kinds, not depth, depth"),
        ({"kind": "multi", "tasks": [DEPTH.to_dict(), MULTI.to_dict()]}, "cannot hold another"),
        ({"kind": "multi", "tasks": [DEPTH.to_dict(), {"kind": "flow"}]}, "not 'flow'"),
    ],
)
def test_a_senseless_one_is_refused_in_one_line(values: dict, complaint: str):
    with pytest.raises(FastnasError, match=complaint) as caught:
        task_from_dict(values)
    assert "\n" not in str(caught.value)


def test_only_the_heatmaps_start_near_zero():
    torch.manual_seed(0)
    weight = build(ModelSpec("arch2", MULTI, channels=16)).state_dict()["decoder.classifier.weight"]
    assert weight[3:7].std().item() == pytest.approx(0.001, rel=0.2)
    assert min(weight[:3].std(), weight[7:].std()) > 0.02


def test_a_batch_has_all_labels_and_the_missing_ones_are_ignored():
    batch = batch_of("segmentation", "depth", "pose")
    assert sorted(batch) == ["depth", "image", "keypoints", "mask", "name", "to_image", "visible"]
    known = [
        ((mask != IGNORE).any(), (depth > 0).any(), visible.any())
        for mask, depth, visible in zip(batch["mask"], batch["depth"], batch["visible"], strict=True)
    ]
    assert known == [(True, False, False), (False, True, False), (False, False, True)]


def test_the_loss_is_the_weighted_sum_over_the_samples_that_are_labelled():
    kinds, weights = ("segmentation", "pose", "depth"), {"segmentation": 2.0, "pose": 30.0, "depth": 0.5}
    batch, logits = batch_of(*kinds), torch.rand(3, SCENES.outputs, 16, 24, requires_grad=True)
    loss = head_for(SCENES, weights).loss(logits, batch)
    expected = torch.zeros(())
    for i, kind in enumerate(kinds):
        alone = {key: value[i : i + 1] for key, value in batch.items()}
        channels = channels_of(SCENES)[kind]
        expected = expected + weights[kind] * head_for(TASKS[kind]).loss(logits[i : i + 1, channels], alone)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    for i, kind in enumerate(kinds):
        for other, channels in channels_of(SCENES).items():
            assert bool(logits.grad[i, channels].any()) == (kind == other)


def test_a_teacher_may_know_some_channels_of_some_samples():
    torch.manual_seed(0)
    head, logits = head_for(MULTI, {"segmentation": 2.0, "pose": 30.0, "depth": 0.5}), torch.rand(2, 8, 4, 6)
    image, depth = torch.zeros(2, 3, 16, 24), torch.full((2, 1, 4, 6), math.nan)
    assert head.taught({"image": image}) is None
    depth[1, :, 2:] = 3.0
    targets = head.taught({"image": image, "teacher_depth": depth})
    assert targets is not None
    assert (targets.shape, targets.isfinite().sum()) == ((2, 8, 4, 6), 12)
    expected = 0.5 * (logits[1, 7, 2:] - 3.0).square().mean()
    torch.testing.assert_close(head.distillation(logits, targets), expected)
    maps = torch.rand(2, 4, 4, 6)
    both = head.taught({"image": image, "teacher_depth": depth, "teacher_keypoints": maps})
    assert both is not None
    expected = expected + 30 * (logits[:, 3:7] - maps).square().mean()
    torch.testing.assert_close(head.distillation(logits, both), expected)


def test_samples_with_and_without_a_teacher_share_batches():
    transform, sample = train_transform(SCENES, (64, 96)), SyntheticScenes("train", "depth", (96, 96), count=1)[0]
    sample["teacher_depth"] = torch.ones(1, 12, 12)
    taught = transform(sample)
    assert taught["teacher_depth"].shape == (1, 16, 24)
    other = transform(
        {**SyntheticScenes("train", "pose", count=1)[0], "teacher_depth": torch.full((1, 1, 1), math.nan)}
    )
    targets = head_for(SCENES).taught(collate([taught, other]))
    assert targets is not None
    assert targets[0, -1].isfinite().any()
    assert targets[:, :-1].isnan().all()
    assert targets[1].isnan().all()


def test_a_mirrored_crop_exchanges_joints_as_labels_say():
    scene = SyntheticScenes("train", "pose", (96, 96), count=1)[0]
    transform = train_transform(SCENES, (96, 96), scale=(1.0, 1.0))
    order = list(TASKS["pose"].mirror)  # type: ignore[union-attr]
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        moved = transform(scene)
        direct = moved["keypoints"]
        mirrored = torch.stack([95 - direct[:, 0], direct[:, 1]], 1)[order]
        same = [torch.allclose(points, scene["keypoints"], atol=1e-3) for points in (direct, mirrored)]
        assert sum(same) == 1
        seen.add(same[1])
        assert torch.equal(moved["visible"], scene["visible"][order] if same[1] else scene["visible"])
    assert seen == {False, True}


def test_metrics_are_those_of_each_task_on_its_own_samples():
    head = head_for(SCENES)
    metrics, parts = [head.metrics(), head.metrics()], {}
    torch.manual_seed(0)
    for i, kind in enumerate(("depth", "segmentation", "pose")):
        alone = head_for(TASKS[kind]).metrics()
        for scene in range(2):
            sample = eval_transform(TASKS[kind], None, multiple=32)(SyntheticScenes("val", kind, (96, 80))[scene])
            batch, logits = collate([sample]), torch.rand(1, SCENES.outputs, 24, 24)
            metrics[i % 2].update(logits, batch)
            alone.update(logits[:, channels_of(SCENES)[kind]], batch)
        parts[kind] = alone.compute()
    metrics[0].merge(metrics[1])
    found = metrics[0].compute()
    mean = found.pop("mean_score")
    expected = {f"{kind}/{name}": value for kind, values in parts.items() for name, value in values.items()}
    assert found == pytest.approx(expected, nan_ok=True)
    wanted = (found["segmentation/mean_iou"] + found["depth/delta1"] + found["pose/PCKh@0.5"]) / 3
    assert mean == pytest.approx(wanted)
    assert head.score({"mean_score": mean}) == ("mean_score", mean, True)
    assert math.isnan(head.score(head.metrics().compute()).value)


def test_a_mirror_is_that_of_each_task():
    head, logits = head_for(MULTI), torch.randn(2, 8, 8, 12)
    mirrored = head.mirror(logits)
    assert torch.equal(head.mirror(mirrored), logits)
    assert torch.equal(mirrored[:, 3:7], head_for(POSE).mirror(logits[:, 3:7]))


def test_predictions_are_drawn_together():
    head = head_for(MULTI)
    prediction = one_of(head.decode(torch.rand(2, 8, 16, 16), (64, 64)), 1)
    assert {kind: tuple(value.shape) for kind, value in prediction.items()} == {
        "segmentation": (64, 64), "pose": (4, 3), "depth": (64, 64),
    }  # fmt: skip
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    drawn, classes = head.draw(image, prediction), head.draw(image, {"segmentation": prediction["segmentation"]})
    assert drawn.shape == (classes.shape[0], 2 * classes.shape[1], 3)
    assert np.any(drawn[:, : classes.shape[1]] != classes)  # the skeleton
    assert set(head.truth(eval_transform(TASKS["depth"], None)(SyntheticScenes("val", "depth")[0]))) == {"depth"}
