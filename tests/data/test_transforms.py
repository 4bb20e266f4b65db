"""Labels stay where their image shows them, whatever the transform; checked on scenes whose pixels tell the truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from fastnas.data.transforms import (
    collate,
    denormalise,
    eval_transform,
    train_transform,
    warp,
)
from fastnas.errors import FastnasError
from fastnas.normalisation import IMAGENET
from fastnas.tasks import IGNORE, Depth, Multi, Pose, Segmentation

BODY = Pose(
    joints=("left_wrist", "right_wrist", "left_hip", "right_hip", "left_ankle", "right_ankle"),
    skeleton=((0, 2), (1, 3), (2, 4), (3, 5)),
    mirror=(1, 0, 3, 2, 5, 4),
)
COLOURS = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]])
CLASSES = Segmentation(("ground", "box"), ((0, 0, 0), (255, 0, 0)))
METRES = Depth(0.1, 10.0)


def person() -> dict:
    """A person on black, each joint a dot of its colour."""
    points = np.array([[150, 60], [60, 70], [130, 120], [85, 122], [140, 190], [75, 200]], dtype=np.float32)
    image = np.zeros((240, 200, 3), dtype=np.uint8)
    for (x, y), colour in zip(points, COLOURS.tolist(), strict=True):
        cv2.circle(image, (int(x), int(y)), 7, colour, cv2.FILLED)
    return {
        "name": "person",
        "image": tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
        "keypoints": tv_tensors.KeyPoints(torch.from_numpy(points), canvas_size=(240, 200)),
        "visible": torch.tensor([True, False, True, True, True, True]),
        "box": tv_tensors.BoundingBoxes([[50.0, 50.0, 160.0, 210.0]], format="XYXY", canvas_size=(240, 200)),
        "head_size": 20.0,
    }


def scene(height: int = 90, width: int = 120) -> dict:
    """A white box of class 1 at 2 m on black ground at 4 m."""
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[20:61, 35:96] = 1
    return {
        "name": "scene",
        "image": tv_tensors.Image((255 * mask).expand(3, -1, -1).clone()),
        "mask": tv_tensors.Mask(mask),
        "depth": tv_tensors.Mask(4.0 - 2.0 * mask),
    }


def dot_centre(image: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """Where a colour is, weighted by how much of it each pixel has."""
    far = (image.float() - colour[:, None, None]).abs().amax(0)
    weight = (1 - far / 110).clamp(min=0)
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in far.shape), indexing="ij")
    return torch.stack([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@pytest.mark.parametrize("size", [(256, 256), (256, 192)])
@pytest.mark.parametrize("seed", range(12))
def test_joints_stay_on_their_dots(size, seed):
    torch.manual_seed(seed)
    sample = person()
    moved = train_transform(BODY, size, scale=(0.7, 1.1), rotation=40)(sample)
    picture = denormalise(moved["image"])
    assert picture.shape[-2:] == size
    mirrored = torch.linalg.det(moved["to_image"][:, :2]) < 0
    for joint, (point, visible) in enumerate(zip(moved["keypoints"], moved["visible"], strict=True)):
        # In a mirrored person the left wrist is where the image shows what was the right one.
        shown = BODY.mirror[joint] if mirrored else joint
        if 8 < point[0] < size[1] - 8 and 8 < point[1] < size[0] - 8:
            assert (dot_centre(picture, COLOURS[shown]) - point).abs().max() < 0.5
        assert visible == sample["visible"][shown]


def test_both_mirrored_and_plain_people_are_drawn_within_the_ranges():
    torch.manual_seed(0)
    transform = train_transform(BODY, (64, 64), scale=(0.75, 1.25), rotation=30)
    matrices = torch.stack([transform(person())["to_image"] for _ in range(300)])[:, :, :2].double()
    determinant = torch.linalg.det(matrices)
    assert 100 < (determinant < 0).sum() < 200
    plain = eval_transform(BODY, (64, 64))(person())["to_image"][0, 0]
    zoom = plain / determinant.abs().sqrt()
    assert 0.75 <= zoom.min() < 0.78
    assert 1.22 < zoom.max() <= 1.2501
    angle = torch.rad2deg(torch.atan2(matrices[:, 0, 1], matrices[:, 1, 1]))
    assert -30.01 < angle.min() < -28
    assert 28 < angle.max() < 30.01


def test_the_person_is_centred_with_a_margin():
    sample = person()
    left, top, right, bottom = eval_transform(BODY, (256, 192))(sample)["box"][0].tolist()
    assert left + right == pytest.approx(192, abs=1e-3)
    assert top + bottom == pytest.approx(256, abs=1e-3)
    assert max((right - left) / 192, (bottom - top) / 256) == pytest.approx(1 / 1.25, abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_masks_and_depths_stay_on_their_edges(seed):
    torch.manual_seed(seed)
    moved = train_transform(CLASSES, (80, 100))(scene())
    assert moved["image"].shape[-2:] == moved["mask"].shape == moved["depth"].shape == (80, 100)
    inside = moved["mask"] != IGNORE
    white = denormalise(moved["image"]).float().mean(0)
    # White and black mix on edges: a pixel of the box is at least half white there, and at corners a quarter.
    labelled = moved["mask"] == 1
    assert (white[labelled & inside] >= 60).all()
    assert (white[~labelled & inside & _interior(inside)] <= 195).all()
    zoom = 1 / moved["to_image"][0, 0].abs()
    expected = torch.where(moved["mask"] == 1, 2.0, 4.0) / zoom
    torch.testing.assert_close(torch.as_tensor(moved["depth"])[inside], expected[inside])


def test_depths_keep_their_metres_where_asked():
    torch.manual_seed(0)
    moved = train_transform(METRES, (80, 100), depth_by_zoom=False)(
        {**scene(), "teacher_depth": torch.full((1, 9, 9), 3.0)}
    )
    assert moved["to_image"][0, 0].abs() != 1
    assert set(moved["depth"].unique().tolist()) <= {0.0, 2.0, 4.0}
    teacher = moved["teacher_depth"]
    torch.testing.assert_close(teacher[teacher.isfinite()], torch.full_like(teacher[teacher.isfinite()], 3.0))
    joint = Multi((CLASSES, METRES))
    torch.manual_seed(0)
    assert set(train_transform(joint, (80, 100), depth_by_zoom=False)(scene())["depth"].unique().tolist()) <= {
        0.0,
        2.0,
        4.0,
    }


def _interior(inside: torch.Tensor) -> torch.Tensor:
    """Pixels whose neighbours are all from the image: on its rim the padding's colour mixes in."""
    return torch.from_numpy(cv2.erode(inside.numpy().astype(np.uint8), np.ones((3, 3), np.uint8))).bool()


def test_padding_is_mean_colour_ignored_and_missing():
    moved = train_transform(CLASSES, (200, 200), scale=(0.5, 0.5))(scene())
    outside = moved["mask"] == IGNORE
    assert outside.sum() == 200 * 200 - 45 * 60
    assert torch.as_tensor(moved["image"])[:, outside].abs().median() < 0.02
    assert (torch.as_tensor(moved["depth"])[outside] == 0).all()


def test_crops_reach_every_border():
    torch.manual_seed(0)
    transform = train_transform(CLASSES, (45, 60), scale=(1.0, 1.0), mirror=False)
    corners = torch.stack([transform(scene())["to_image"][:, 2] for _ in range(400)]).round()
    assert corners.amin(0).tolist() == [0, 0]
    assert corners.amax(0).tolist() == [60, 45]


def test_a_crop_of_the_whole_image_is_the_image_or_its_mirror():
    torch.manual_seed(0)
    sample, transform = scene(), train_transform(CLASSES, (90, 120), scale=(1.0, 1.0))
    both = sample["mask"], F.horizontal_flip(sample["mask"])
    seen = [[torch.equal(moved["mask"], mask) for mask in both] for moved in (transform(sample) for _ in range(20))]
    assert sorted({tuple(pair) for pair in seen}) == [(False, True), (True, False)]


def test_mirroring_is_torchvisions():
    """The same pixels, points and boxes as the library's own mirror, exactly."""
    sample = person() | {key: scene(240, 200)[key] for key in ("mask", "depth")}
    mirrored = warp(sample, _mirror(200), (240, 200))
    for key in ("image", "mask", "depth", "keypoints", "box"):
        expected = torch.as_tensor(F.horizontal_flip(sample[key]))
        torch.testing.assert_close(torch.as_tensor(mirrored[key]), expected, rtol=0, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(62, 90), width=st.integers(97, 130))
def test_mirroring_twice_changes_nothing(height, width):
    sample = scene(height, width)
    once = warp(sample, _mirror(width), (height, width))
    twice = warp(once, _mirror(width), (height, width))
    for key in ("image", "mask", "depth"):
        assert torch.equal(torch.as_tensor(twice[key]), torch.as_tensor(sample[key]))
    torch.testing.assert_close(twice["to_image"], torch.eye(3)[:2])


@pytest.mark.parametrize("seed", range(5))
def test_to_image_leads_back(seed):
    torch.manual_seed(seed)
    sample = person()
    moved = train_transform(BODY, (128, 96), scale=(0.7, 1.3), rotation=40)(sample)
    matrix = moved["to_image"]
    order = list(BODY.mirror) if torch.linalg.det(matrix[:, :2]) < 0 else slice(None)
    back = torch.as_tensor(moved["keypoints"]) @ matrix[:, :2].T + matrix[:, 2]
    torch.testing.assert_close(back, torch.as_tensor(sample["keypoints"])[order], rtol=0, atol=1e-3)


def test_a_person_in_the_whole_image_stays_where_it_is():
    sample = eval_transform(BODY, None, multiple=32)(person())
    assert sample["image"].shape == (3, 256, 224)
    assert torch.equal(torch.as_tensor(sample["keypoints"]), torch.as_tensor(person()["keypoints"]))
    assert sample["content"].tolist() == [240, 200]


def test_evaluation_changes_no_pixel():
    sample = scene(90, 120)
    padded = eval_transform(CLASSES, multiple=32)(sample)
    assert padded["image"].shape == (3, 96, 128)
    assert padded["image"].dtype == torch.float32
    assert torch.equal(denormalise(padded["image"])[:, :90, :120], torch.as_tensor(sample["image"]))
    assert torch.equal(torch.as_tensor(padded["mask"])[:90, :120], torch.as_tensor(sample["mask"]))
    assert (torch.as_tensor(padded["mask"])[90:] == IGNORE).all()
    assert eval_transform(METRES)(sample)["image"].shape == (3, 90, 120)


def test_normalisation_is_imagenets():
    image = eval_transform(CLASSES)(scene())["image"]
    for channel in range(3):
        assert image[channel].max() == pytest.approx((1 - IMAGENET.mean[channel]) / IMAGENET.std[channel], abs=1e-5)
        assert image[channel].min() == pytest.approx(-IMAGENET.mean[channel] / IMAGENET.std[channel], abs=1e-5)


def test_a_seed_repeats_a_sample():
    def drawn() -> torch.Tensor:
        torch.manual_seed(3)
        return train_transform(METRES, (50, 60))(scene())["image"]

    assert torch.equal(drawn(), drawn())


def test_a_batch_stacks_labels():
    transform = eval_transform(BODY, (64, 48))
    batch = collate([transform(person()) for _ in range(3)])
    shapes = {key: tuple(value.shape) for key, value in batch.items() if key != "name"}
    assert shapes == {
        "image": (3, 3, 64, 48),
        "keypoints": (3, 6, 2),
        "visible": (3, 6),
        "box": (3, 1, 4),
        "head_size": (3,),
        "to_image": (3, 2, 3),
    }
    assert batch["name"] == ["person"] * 3


def test_what_cannot_be_transformed_is_said():
    with pytest.raises(FastnasError, match="differs in size within a batch"):
        collate([scene(90, 120), scene(90, 121)])
    with pytest.raises(FastnasError, match="do not have the same labels"):
        collate([scene(), person()])
    flat = person() | {"box": tv_tensors.BoundingBoxes([[9, 9, 9, 20]], format="XYXY", canvas_size=(240, 200))}
    with pytest.raises(FastnasError, match=r"person's box .* is empty"):
        eval_transform(BODY, (64, 64))(flat)
    with pytest.raises(FastnasError, match="set rotation to 0 for depth"):
        train_transform(METRES, (64, 64), rotation=5)


def _mirror(width: int) -> np.ndarray:
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], dtype=np.float64)


def columns_of(label: str) -> dict:
    """A scene of 128x96 and outputs of a teacher at an eighth of it: the column, and the row, of the image's pixel."""
    sample = scene(96, 128) if label != "keypoints" else person()
    height, width = sample["image"].shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height // 8), torch.arange(width // 8), indexing="ij")
    return {**sample, f"teacher_{label}": torch.stack([columns, rows]) * 8 + 3.5}


@pytest.mark.parametrize("seed", range(5))
def test_a_teachers_outputs_stay_on_their_pixels(seed):
    sample = columns_of("mask")
    torch.manual_seed(seed)
    moved = train_transform(CLASSES, (96, 128), scale=(0.7, 1.5))(sample)
    outputs = moved["teacher_mask"]
    assert outputs.shape == (2, 24, 32)
    cells = torch.stack(torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")[::-1], -1) * 4 + 1.5
    inside = cells.reshape(-1, 2) @ moved["to_image"][:, :2].T + moved["to_image"][:, 2]
    places = inside.T.reshape(2, 24, 32)
    border = torch.tensor([128, 96])[:, None, None]
    deep = ((places > 4) & (places < border - 5)).all(0)
    assert deep.any()
    torch.testing.assert_close(outputs[:, deep], places[:, deep], atol=1e-3, rtol=0)
    outside = ((places < -0.5) | (places > border - 0.5)).any(0)
    assert torch.equal(outputs.isnan().all(0), outside)


def test_a_teachers_depth_is_divided_by_the_zoom_and_its_joints_exchanged():
    twice = np.diag([2.0, 2.0, 1.0])
    sample = {**scene(64, 64), "teacher_depth": torch.full((1, 8, 8), 4.0)}
    torch.testing.assert_close(warp(sample, twice, (64, 64))["teacher_depth"], torch.full((1, 16, 16), 2.0))
    joints = {**person(), "teacher_keypoints": torch.arange(6.0)[:, None, None].expand(6, 30, 25).clone()}
    moved = warp(joints, _mirror(200), (240, 200), BODY.mirror)["teacher_keypoints"]
    assert moved.shape == (6, 60, 50)
    assert moved[:, 10, 10].tolist() == [1, 0, 3, 2, 5, 4]
