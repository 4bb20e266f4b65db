"""Losses, decoding and the interface of every task, against loops and facts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnas.data import open_dataset
from fastnas.data.transforms import collate, train_transform
from fastnas.errors import FastnasError
from fastnas.jetson.inference.decode import SIGMA, joints
from fastnas.tasks import IGNORE, Depth, Pose, Segmentation
from fastnas.tasks.base import Metrics, flip_test, upsample
from fastnas.tasks.pose import gaussians
from fastnas.tasks.registry import head_for

SEGMENTATION = Segmentation(("sky", "road", "car"), ((0, 0, 255), (90, 90, 90), (255, 0, 0)))
POSE = Pose(("left_shoulder", "right_shoulder", "left_hip", "right_hip"), ((0, 1), (2, 3)), (1, 0, 3, 2))
DEPTH = Depth(0.5, 10.0)


def batch_of(task, count=2, height=32, width=48) -> dict:
    """A batch with random labels of every kind."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 3, (count, height, width), generator=generator)
    mask[:, :3] = IGNORE
    depth = 0.5 + 9 * torch.rand(count, height, width, generator=generator)
    depth[:, :3] = 0
    return {
        "image": torch.zeros(count, 3, height, width),
        "mask": mask.to(torch.uint8),
        "depth": depth,
        "keypoints": torch.rand(count, len(POSE.joints), 2, generator=generator)
        * torch.tensor([width - 1, height - 1]),
        "visible": torch.ones(count, len(POSE.joints), dtype=torch.bool),
        "to_image": torch.eye(3)[:2].repeat(count, 1, 1),
        "name": ["a"] * count,
    }


@pytest.mark.parametrize("task", [SEGMENTATION, POSE, DEPTH], ids=lambda task: task.kind)
class TestEveryTask:
    """What training and evaluation rely on."""

    def test_the_loss_is_a_float32_scalar_with_gradients(self, task):
        logits = torch.randn(2, task.outputs, 8, 12, dtype=torch.bfloat16, requires_grad=True)
        loss = head_for(task).loss(logits, batch_of(task))
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        loss.backward()
        assert logits.grad is not None
        assert logits.grad.abs().sum() > 0

    def test_nothing_labelled_costs_nothing(self, task):
        batch = batch_of(task)
        batch["mask"][:], batch["depth"][:], batch["visible"][:] = IGNORE, 0, False
        logits = torch.randn(2, task.outputs, 8, 12, requires_grad=True)
        loss = head_for(task).loss(logits, batch)
        loss.backward()
        assert loss == 0
        assert logits.grad is not None
        assert (logits.grad == 0).all()

    def test_an_image_goes_all_the_way(self, task):
        head, batch = head_for(task), batch_of(task)
        logits = torch.rand(2, task.outputs, 8, 12)
        metrics = head.metrics()
        assert isinstance(metrics, Metrics)
        metrics.update(logits, batch)
        score = head.score(metrics.compute())
        assert math.isfinite(score.value)
        assert score.higher_is_better == (task is not DEPTH)
        decoded = head.decode(logits, (32, 48))
        picture = head.draw(torch.zeros(3, 32, 48, dtype=torch.uint8), decoded[0])
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert decoded[0].shape == head.truth({key: value[0] for key, value in batch.items()}).shape

    def test_the_mirror_undoes_itself(self, task):
        head, logits = head_for(task), torch.randn(2, task.outputs, 8, 12)
        assert torch.equal(head.mirror(head.mirror(logits)), logits)
        assert not torch.equal(head.mirror(logits), logits)


def test_an_unknown_task_is_refused():
    class Other:
        kind = "sound"

    with pytest.raises(FastnasError, match="no task of kind 'sound'; there are segmentation, pose, depth"):
        head_for(Other())  # type: ignore[arg-type]


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    batch, logits = batch_of(SEGMENTATION), torch.randn(2, 3, 8, 12)
    large = F.interpolate(logits, size=(32, 48), mode="bilinear")
    expected = F.cross_entropy(large, batch["mask"].long(), ignore_index=IGNORE)
    torch.testing.assert_close(head_for(SEGMENTATION).loss(logits, batch), expected)


def test_berhu_is_the_papers_formula():
    batch, logits = batch_of(DEPTH), 10 * torch.rand(2, 1, 32, 48)
    errors = [
        abs(float(guess) - float(true))
        for guess, true in zip(logits.flatten(), batch["depth"].flatten(), strict=True)
        if true > 0
    ]
    c = max(errors) / 5
    expected = sum(e if e <= c else (e * e + c * c) / (2 * c) for e in errors) / len(errors)
    assert float(head_for(DEPTH).loss(logits, batch)) == pytest.approx(expected, rel=1e-5)


def test_missing_depth_never_matters():
    batch, logits = batch_of(DEPTH), torch.rand(2, 1, 32, 48)
    wild = logits.clone()
    wild[:, :, :3] = 1e6
    head = head_for(DEPTH)
    assert head.loss(wild, batch) == head.loss(logits, batch)
    logits.requires_grad_()
    head.loss(logits, batch).backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, :3] == 0).all()


def test_perfect_predictions_cost_nothing():
    batch = batch_of(DEPTH)
    exact = batch["depth"][:, None].clone().requires_grad_()
    loss = head_for(DEPTH).loss(exact, batch)
    loss.backward()
    assert loss == 0
    assert exact.grad is not None
    assert exact.grad.isfinite().all()

    batch = batch_of(POSE)
    assert head_for(POSE).loss(gaussians((batch["keypoints"] + 0.5) / 4 - 0.5, (8, 12)), batch) == 0


def test_heatmap_loss_is_a_loop_over_visible_joints():
    batch, logits = batch_of(POSE), torch.rand(2, 4, 8, 12)
    batch["visible"][0, 1] = False
    batch["keypoints"][1, 2] = torch.tensor([-3.0, 10.0])  # left of the crop
    total, joints = 0.0, 0
    for sample in range(2):
        for joint in range(4):
            if (sample, joint) in {(0, 1), (1, 2)}:
                continue
            # Pixel i of a heatmap of stride 4 covers the input's pixels 4i to 4i + 3, whose centre is 4i + 1.5.
            x, y = ((float(v) - 1.5) / 4 for v in batch["keypoints"][sample, joint])
            joints += 1
            for row in range(8):
                for column in range(12):
                    target = math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 2**2))
                    total += (float(logits[sample, joint, row, column]) - target) ** 2 / (8 * 12)
    assert float(head_for(POSE).loss(logits, batch)) == pytest.approx(total / joints, rel=1e-5)


def test_coarser_heatmaps_are_compared_at_stride_4():
    batch, coarse = batch_of(POSE), torch.rand(2, 4, 4, 6)
    head = head_for(POSE)
    assert head.loss(coarse, batch) == head.loss(upsample(coarse, (8, 12)), batch)


@settings(max_examples=50, deadline=None)
@given(x=st.floats(14, 241), y=st.floats(14, 177))
def test_decoding_finds_the_target_between_pixels(x, y):
    point = torch.tensor([[[x, y]]])
    head = head_for(Pose(("nose",), (), (0,)))
    joint = head.decode(gaussians((point + 0.5) / 4 - 0.5, (48, 64)), (192, 256))[0, 0]
    torch.testing.assert_close(joint[:2], point[0, 0], rtol=0, atol=2e-3)
    assert joint[2] > 0.85


def test_heatmaps_are_decoded_at_their_own_stride():
    points = torch.tensor([[[61.3, 40.2]], [[33.0, 70.9]]])
    head = head_for(Pose(("nose",), (), (0,)))
    for stride in (4, 8):
        at = stride * torch.arange(128 // stride) + (stride - 1) / 2
        across, down = (torch.exp(-((at - points[..., axis, None]) ** 2) / (2 * SIGMA**2)) for axis in (0, 1))
        heatmaps = down[..., :, None] * across[..., None, :]
        found = head.decode(heatmaps, (128, 128))
        torch.testing.assert_close(found[..., :2], points, rtol=0, atol=2e-3)
        assert torch.equal(found, torch.from_numpy(joints(heatmaps.numpy(), stride)))


def test_flip_test_averages_what_both_views_show():
    head = head_for(POSE)
    images = torch.rand(2, 3, 8, 12)

    def network(image: torch.Tensor) -> torch.Tensor:
        """Left joints are what is bright in red, right ones in green: blind to mirrors but for the names."""
        return torch.stack([image[:, 0], image[:, 1], image[:, 0] * 2, image[:, 1] * 2], 1)

    averaged = flip_test(network, images, head)
    red, green = images[:, 0], images[:, 1]
    torch.testing.assert_close(averaged[:, 0], (red + green) / 2)
    torch.testing.assert_close(averaged[:, 3], red + green)
    same = flip_test(lambda image: image, images, head_for(SEGMENTATION))
    torch.testing.assert_close(same, images)


def test_depth_is_decoded_within_its_range():
    logits = torch.tensor([-5.0, 3.0, 500.0]).view(1, 1, 1, 3)
    assert head_for(DEPTH).decode(logits, (1, 3)).flatten().tolist() == [0.5, 3.0, 10.0]


@pytest.mark.parametrize("kind", ["segmentation", "pose", "depth"])
def test_built_in_scenes_go_from_sample_to_score(kind):
    dataset = open_dataset("synthetic", task=kind)
    transform = train_transform(dataset.task, (64, 64), scale=(0.8, 1.2))
    batch = collate([transform(dataset[index]) for index in range(3)])
    head, logits = head_for(dataset.task), torch.rand(3, dataset.task.outputs, 16, 16)
    assert head.loss(logits, batch) > 0
    metrics = head.metrics()
    metrics.update(logits, batch)
    assert math.isfinite(head.score(metrics.compute()).value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("task", [SEGMENTATION, POSE, DEPTH], ids=lambda task: task.kind)
def test_a_gpu_gives_the_same(task):
    head, batch = head_for(task), batch_of(task)
    logits = torch.rand(2, task.outputs, 8, 12)
    there = {key: value.cuda() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    torch.testing.assert_close(head.loss(logits.cuda(), there).cpu(), head.loss(logits, batch))
    on_gpu, on_cpu = head.metrics(), head.metrics()
    on_gpu.update(logits.cuda(), there)
    on_cpu.update(logits, batch)
    assert on_gpu.compute() == pytest.approx(on_cpu.compute(), rel=1e-4, nan_ok=True)
