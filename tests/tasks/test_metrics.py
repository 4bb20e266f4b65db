"""Every metric against an independent reference: torchmetrics, a plain loop, or the published formula."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from fastnas.tasks import IGNORE, Depth, Pose, Segmentation
from fastnas.tasks.pose_metrics import sigma
from fastnas.tasks.registry import head_for
from fastnas.tasks.segmentation import SegmentationHead

CLASSES = Segmentation(tuple("abcde"), ((0, 0, 0),) * 5)
METRES = Depth(0.5, 10.0)
BODY = Pose(
    joints=(
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax"),
        *("upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder"),
        *("left_elbow", "left_wrist"),
    ),
    skeleton=(),
    mirror=(5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10),
)
PEOPLE = 60


def masks(seed: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted and true class ids [count, 10, 12]; a tenth is ignored."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.randint(0, 5, (count, 10, 12), generator=generator)
    wrong = torch.rand(true.shape, generator=generator) < 0.4
    predicted = torch.where(wrong, torch.randint(0, 5, true.shape, generator=generator), true)
    true[torch.rand(true.shape, generator=generator) < 0.1] = IGNORE
    return predicted, true


def people(seed: int = 0) -> tuple[torch.Tensor, dict]:
    """Predicted joints [PEOPLE, 16, 3] in crops of 256x256, and the batch, from images of other scales."""
    generator = np.random.default_rng(seed)
    true = generator.uniform(20, 236, (PEOPLE, 16, 2))
    spread = generator.choice([1.0, 3.0, 12.0], (PEOPLE, 16, 1))
    predicted = np.concatenate(
        [true + generator.normal(size=true.shape) * spread, generator.random((PEOPLE, 16, 1))], 2
    )
    zoom = generator.uniform(0.3, 2, PEOPLE)
    to_image = np.zeros((PEOPLE, 2, 3))
    to_image[:, 0, 0], to_image[:, 1, 1], to_image[:, 0, 2] = zoom, zoom, 30
    batch = {
        "image": torch.zeros(PEOPLE, 3, 256, 256),
        "keypoints": torch.tensor(true).float(),
        "visible": torch.tensor(generator.random((PEOPLE, 16)) < 0.8),
        "to_image": torch.tensor(to_image).float(),
        "head_size": torch.tensor(generator.uniform(10, 40, PEOPLE)).float(),
        "area": torch.tensor(generator.uniform(20, 200, PEOPLE) ** 2).float(),
        "image_id": torch.full((PEOPLE,), -1),
    }
    batch["head_size"][3] = math.nan
    return torch.tensor(predicted).float(), batch


def part(batch: dict, chosen: list[int]) -> dict:
    return {key: value[chosen] for key, value in batch.items()}


# Segmentation


def test_iou_and_accuracy_are_torchmetrics():
    predicted, true = masks(0)
    metrics = head_for(CLASSES).metrics()
    metrics.add(predicted, {"mask": true.to(torch.uint8)})
    values = metrics.compute()
    reference = MulticlassJaccardIndex(5, average="none", ignore_index=IGNORE)(predicted, true)
    for name, iou in zip(CLASSES.classes, reference, strict=True):
        assert values[f"iou/{name}"] == pytest.approx(float(iou), abs=1e-6)
    assert values["mean_iou"] == pytest.approx(float(reference.mean()), abs=1e-6)
    weights = MulticlassJaccardIndex(5, average="weighted", ignore_index=IGNORE)(predicted, true)
    assert values["frequency_weighted_iou"] == pytest.approx(float(weights), abs=1e-6)
    macro = MulticlassAccuracy(5, average="macro", ignore_index=IGNORE)(predicted, true)
    assert values["mean_accuracy"] == pytest.approx(float(macro), abs=1e-6)
    micro = MulticlassAccuracy(5, average="micro", ignore_index=IGNORE)(predicted, true)
    assert values["pixel_accuracy"] == pytest.approx(float(micro), abs=1e-6)


def test_the_background_can_be_left_out():
    predicted, true = masks(1)
    metrics = SegmentationHead(CLASSES).metrics()
    metrics.add(predicted, {"mask": true})
    ious, accuracies, weights = [], [], []
    for c in range(1, 5):
        both = ((predicted == c) & (true == c)).sum().item()
        either = (((predicted == c) & (true != IGNORE)) | (true == c)).sum().item()
        ious.append(both / either)
        accuracies.append(both / (true == c).sum().item())
        weights.append((true == c).sum().item())
    values = metrics.compute(background=False)
    assert values["mean_iou"] == pytest.approx(np.mean(ious))
    assert values["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    assert values["frequency_weighted_iou"] == pytest.approx(np.average(ious, weights=weights))
    assert "iou/a" not in values


def test_absent_classes_do_not_count_but_inventions_do():
    """Class c is nowhere; d is predicted though nothing is d: IoU 0; e is true and never found: IoU 0."""
    true = torch.tensor([[[0, 0, 1, 1, 4]]])
    predicted = torch.tensor([[[0, 0, 1, 3, 1]]])
    metrics = head_for(CLASSES).metrics()
    metrics.add(predicted, {"mask": true})
    values = metrics.compute()
    assert math.isnan(values["iou/c"])
    assert (values["iou/d"], values["iou/e"]) == (0, 0)
    assert values["mean_iou"] == pytest.approx((1 + 1 / 3 + 0 + 0) / 4)
    assert values["mean_accuracy"] == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_logits_are_upsampled_to_the_image():
    """A checkerboard of four confident cells covers a quarter of the mask each."""
    cells = torch.tensor([[0, 1], [2, 3]])
    logits = 50 * torch.nn.functional.one_hot(cells, 5).permute(2, 0, 1)[None].float()
    mask = cells.repeat_interleave(8, 0).repeat_interleave(8, 1)[None]
    metrics = head_for(CLASSES).metrics()
    metrics.update(logits, {"image": torch.zeros(1, 3, 16, 16), "mask": mask.to(torch.uint8)})
    assert metrics.compute()["pixel_accuracy"] == 1


# Depth


def test_the_seven_depth_metrics_are_a_plain_loop():
    generator = np.random.default_rng(0)
    true = generator.uniform(0.3, 11, (3, 9, 7))
    true[generator.random(true.shape) < 0.2] = 0
    guess = np.clip(true * np.exp(generator.normal(0, 0.4, true.shape)), 0.5, 10)
    metrics = head_for(METRES).metrics()
    metrics.add(torch.tensor(guess), {"depth": torch.tensor(true)})
    count, sums = 0, np.zeros(7)
    for d, t in zip(guess.flat, true.flat, strict=True):
        if 0.5 <= t <= 10:
            count += 1
            ratio = max(d / t, t / d)
            sums += [(d - t) ** 2, (math.log(d) - math.log(t)) ** 2, abs(d - t) / t, (d - t) ** 2 / t,
                     ratio < 1.25, ratio < 1.25**2, ratio < 1.25**3]  # fmt: skip
    means = sums / count
    means[:2] **= 0.5
    names = ("rmse", "rmse_log", "abs_rel", "sqr_rel", "delta1", "delta2", "delta3")
    assert metrics.compute() == pytest.approx(dict(zip(names, means, strict=True)))


def test_depth_counts_pixels_not_images():
    """One wrong pixel in an image of one, three right ones in another: a quarter is wrong, not a half."""
    metrics = head_for(METRES).metrics()
    metrics.add(torch.full((1, 1, 3), 4.0), {"depth": torch.tensor([[[2.0, 0, 0]]])})
    metrics.add(torch.full((1, 1, 3), 4.0), {"depth": torch.tensor([[[4.0, 4, 4]]])})
    values = metrics.compute()
    assert values["delta1"] == 0.75
    assert values["rmse"] == pytest.approx(1.0)


# Pose


def test_pckh_is_a_plain_loop():
    predicted, batch = people()
    metrics = head_for(BODY).metrics()
    metrics.add(predicted, batch)
    values = metrics.compute()
    for limit in (0.5, 0.1, 0.11):
        hits, counts = np.zeros(16), np.zeros(16)
        for person in range(PEOPLE):
            head = float(batch["head_size"][person])
            if math.isnan(head):
                continue
            zoom = float(batch["to_image"][person, 0, 0])
            for joint in range(16):
                if batch["visible"][person, joint]:
                    distance = math.dist(predicted[person, joint, :2], batch["keypoints"][person, joint]) * zoom
                    counts[joint] += 1
                    hits[joint] += distance / head <= limit
        body = [joint for joint in range(16) if joint not in (6, 7)]  # MPII's mean has no pelvis and no thorax
        assert values[f"PCKh@{limit}"] == pytest.approx(hits[body].sum() / counts[body].sum())
        if limit == 0.11:  # of which the published tables have the mean alone
            continue
        shares = hits / counts
        pairs = {"head": (9, 9), "shoulder": (12, 13), "elbow": (11, 14), "wrist": (10, 15)}
        pairs |= {"hip": (2, 3), "knee": (1, 4), "ankle": (0, 5)}
        for group, (one, other) in pairs.items():
            assert values[f"PCKh@{limit}/{group}"] == pytest.approx((shares[one] + shares[other]) / 2)
    assert 0.1 < values["PCKh@0.1"] < values["PCKh@0.11"] < values["PCKh@0.5"] < 0.99
    assert "PCKh@0.11/head" not in values


def test_numbers_are_those_of_the_published_tables():
    """Two people by hand: the head is its top, the neck is in the mean, and the tenth is 0.11 of the head's size."""
    true = torch.arange(32.0).reshape(16, 2).repeat(2, 1, 1) * 10
    predicted = torch.cat([true, torch.ones(2, 16, 1)], 2)
    predicted[:, 9, 0] += torch.tensor([50.0, 50.5])  # head top: at half a head, and beyond
    predicted[:, 8, 0] += torch.tensor([11.0, 11.5])  # neck: at 0.11 of a head, and beyond
    predicted[:, 6, 0] += 1000  # pelvis, which does not count
    batch = {"keypoints": true, "visible": torch.ones(2, 16).bool(), "head_size": torch.tensor([100.0, 100.0])}
    metrics = head_for(BODY).metrics()
    metrics.add(predicted, {**batch, "to_image": IDENTITY.repeat(2, 1, 1)})
    values = metrics.compute()
    assert values["PCKh@0.5"] == 27 / 28
    assert values["PCKh@0.5/head"] == 1 / 2
    assert values["PCKh@0.1"] == 24 / 28
    assert values["PCKh@0.11"] == 25 / 28


def test_without_a_head_top_the_head_is_what_is_there_of_it():
    joints = ("nose", "left_eye", "right_eye")
    metrics = head_for(Pose(joints, (), (0, 2, 1))).metrics()
    true = torch.zeros(1, 3, 2)
    predicted = torch.cat([true, torch.ones(1, 3, 1)], 2)
    predicted[0, 0, 0] = 9
    batch = {"keypoints": true, "visible": torch.ones(1, 3).bool(), "head_size": torch.tensor([10.0])}
    metrics.add(predicted, {**batch, "to_image": IDENTITY})
    assert metrics.compute()["PCKh@0.5/head"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("sides", [("left", "right"), ("l", "r")])
def test_pck_is_measured_by_the_torso(sides):
    """Either diagonal of this torso is 50 pixels, and one will do: 10 pixels off are right, 10.1 are not."""
    joints = tuple(f"{side}_{part}" for part in ("shoulder", "hip") for side in sides)
    task = Pose(joints, (), (1, 0, 3, 2))
    true = torch.tensor([[[40.0, 10], [10, 10], [40, 50], [10, 50]]])
    predicted = torch.cat([true, torch.ones(1, 4, 1)], 2)
    predicted[0, 0, 0] += 10
    predicted[0, 1, 1] += 10.1
    for visible, expected in (([1, 1, 1, 1], 3 / 4), ([0, 1, 1, 1], 2 / 3), ([0, 0, 1, 1], None)):
        metrics = head_for(task).metrics()
        metrics.add(predicted, {"keypoints": true, "visible": torch.tensor([visible]).bool(), "to_image": IDENTITY})
        assert metrics.compute().get("PCK@0.2") == (None if expected is None else pytest.approx(expected))


IDENTITY = torch.eye(3)[None, :2]


def test_average_precision_is_the_formula():
    """Against a loop of COCO's rules for one person an image: similarity, ranking, 101 recall steps."""
    predicted, batch = people(5)
    metrics = head_for(BODY).metrics()
    metrics.add(predicted, batch)
    values = metrics.compute()
    zoom = batch["to_image"][:, 0, 0].double().numpy()
    distance = (predicted[..., :2] - batch["keypoints"]).double().norm(dim=-1).numpy() * zoom[:, None]
    spread = 2 * np.array([sigma(joint) for joint in BODY.joints])
    area = batch["area"].double().numpy()
    likeness = np.exp(-(distance**2) / (2 * area[:, None] * spread**2))
    visible = batch["visible"].numpy()
    similarity = (likeness * visible).sum(1) / visible.sum(1)
    score = np.array([joints[joints > 0.2].mean() for joints in predicted[..., 2].numpy()])
    right = similarity[np.argsort(-score, kind="mergesort")]
    precisions, recalls = [], []
    for threshold in np.linspace(0.5, 0.95, 10):
        true_positives = np.cumsum(right >= threshold)
        recall = true_positives / PEOPLE
        precision = true_positives / np.arange(1, PEOPLE + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, np.linspace(0, 1, 101))
        precisions.append(np.mean([precision[i] if i < PEOPLE else 0 for i in places]))
        recalls.append(recall[-1])
    assert values["AP"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert values["AP50"] == pytest.approx(precisions[0], abs=1e-6)
    assert values["AP75"] == pytest.approx(precisions[5], abs=1e-6)
    assert values["AR"] == pytest.approx(np.mean(recalls), abs=1e-6)
    assert 0.2 < values["AP"] < values["AP50"] < 1


def test_sigmas_are_cocos():
    """The published constants of COCO's 17 joints, in thousandths."""
    sides = [f"{side}_{joint}" for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
             for side in ("left", "right")]  # fmt: skip
    published = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    assert [round(1000 * sigma(joint)) for joint in ("nose", *sides)] == published


def test_people_of_one_image_may_be_found_by_each_others_prediction():
    """As in COCO, an image's predictions are matched to its people; those of other images are out of reach."""
    pair = part(people()[1], [0, 1])
    pair["keypoints"][1] += 100
    pair["to_image"] = IDENTITY.repeat(2, 1, 1)
    swapped = torch.cat([pair["keypoints"].flip(0), torch.ones(2, 16, 1)], 2)
    for image_ids, recall in (([7, 7], 1), ([7, 8], 0), ([-1, -1], 0)):
        metrics = head_for(BODY).metrics()
        metrics.add(swapped, pair | {"image_id": torch.tensor(image_ids)})
        assert metrics.compute()["AR"] == recall


def test_figures_need_their_labels():
    predicted, batch = people()
    for key in ("head_size", "area", "image_id"):
        del batch[key]
    metrics = head_for(BODY).metrics()
    metrics.add(predicted, batch)
    assert {name.partition("/")[0] for name in metrics.compute()} == {"PCK@0.2"}


# All of them


def _fed(task) -> tuple[torch.Tensor, dict]:
    if isinstance(task, Segmentation):
        predicted, true = masks(2)
        return predicted, {"mask": true}
    if isinstance(task, Depth):
        generator = torch.Generator().manual_seed(0)
        return 1 + 5 * torch.rand(6, 4, 5, generator=generator), {"depth": 8 * torch.rand(6, 4, 5, generator=generator)}
    predicted, batch = people(1)
    return predicted[:6], part(batch, list(range(6)))


@pytest.mark.parametrize("task", [CLASSES, METRES, BODY], ids=lambda task: task.kind)
@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(6)), cut=st.integers(1, 5))
def test_order_and_parts_do_not_matter(task, order, cut):
    predicted, batch = _fed(task)
    head = head_for(task)
    whole, parts, first, second = (head.metrics() for _ in range(4))
    whole.add(predicted, batch)
    for one in order:
        parts.add(predicted[[one]], part(batch, [one]))
    first.add(predicted[order[:cut]], part(batch, order[:cut]))
    second.add(predicted[order[cut:]], part(batch, order[cut:]))
    first.merge(pickle.loads(pickle.dumps(second)))  # as it travels between processes
    expected = pytest.approx(whole.compute(), rel=1e-6, nan_ok=True)
    assert parts.compute() == expected
    assert first.compute() == expected
    assert copy.deepcopy(first).compute() == expected


@pytest.mark.parametrize("task", [CLASSES, METRES, BODY], ids=lambda task: task.kind)
def test_nothing_seen_is_nothing_known(task):
    values = head_for(task).metrics().compute()
    assert all(math.isnan(value) for value in values.values())
    assert math.isnan(head_for(task).score(values).value)
