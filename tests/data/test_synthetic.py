"""Generated scenes: repeatable, geometrically true, and varied."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchvision import tv_tensors

from fastnas.data import open_dataset
from fastnas.data.synthetic import objects
from fastnas.data.synthetic import primitives as p
from fastnas.data.synthetic.camera import make_camera
from fastnas.data.synthetic.dataset import COUNTS, SyntheticScenes
from fastnas.data.synthetic.light import sample_light
from fastnas.data.synthetic.people import make_person
from fastnas.data.synthetic.render import BODY, RANGE, Scene, outline, render
from fastnas.data.synthetic.world import World, compose
from fastnas.errors import FastnasError

GREY = p.Material((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SMALL = (96, 128)


def digest(scene: Scene) -> str:
    """All that a scene holds, as one number."""
    arrays: list[npt.NDArray[Any]] = [scene.image, scene.mask, scene.depth]
    for person in scene.people:
        arrays += [person.keypoints, person.visible]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def staged(*primitives: p.Primitive, height: float = 1.5, size: tuple[int, int] = (128, 128), **extra: object) -> Scene:
    """The primitives alone on the ground, seen by a level camera of 90 degrees."""
    camera = make_camera(size, height=height, pitch=0.0, roll=0.0, focal=0.5)
    return render(World(camera, sample_light(Random(0)), GREY, primitives, **{"people": (), **extra}), camera)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Eighty scenes of the training split."""
    dataset = SyntheticScenes(size=SMALL)
    return [dataset.scene(index) for index in range(80)]


# Repeatable


@pytest.mark.parametrize("task", ["segmentation", "pose", "depth"])
def test_a_scene_depends_on_its_index_alone(task: str) -> None:
    forward, backward = SyntheticScenes(task=task, size=SMALL), SyntheticScenes(task=task, size=SMALL, count=20)
    first = [digest(forward.scene(index)) for index in range(6)]
    assert [digest(backward.scene(index)) for index in reversed(range(6))] == first[::-1]
    assert len(set(first)) == 6


def test_another_process_makes_the_same_scene() -> None:
    """Nor does Python's hash seed matter. The other process needs no torch, which would take seconds to import."""
    code = """if True:
        import hashlib
        from random import Random
        from fastnas.data.synthetic.world import compose
        from fastnas.data.synthetic.render import render
        world = compose(Random("3/val/5"), (96, 128), people=(0, 3))
        scene = render(world, world.camera)
        print(hashlib.sha256(scene.image.tobytes() + scene.mask.tobytes()).hexdigest())
    """
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": paths}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    scene = SyntheticScenes("val", size=SMALL, seed=3).scene(5)
    assert result.stdout.strip() == hashlib.sha256(scene.image.tobytes() + scene.mask.tobytes()).hexdigest()


def test_worker_processes_make_the_same_scenes() -> None:
    dataset = SyntheticScenes(size=SMALL, count=8)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, shuffle=False)
    for index, sample in enumerate(loader):
        assert torch.equal(sample["image"], dataset[index]["image"])
        assert torch.equal(sample["mask"], dataset[index]["mask"])


def test_splits_and_seeds_differ() -> None:
    datasets = [SyntheticScenes(split, size=SMALL, seed=seed) for split in COUNTS for seed in (0, 1)]
    made = [digest(dataset.scene(index)) for dataset in datasets for index in (0, 1)]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    ("task", "colours", "pixels", "depth", "joints"),
    [
        ("segmentation", (131.256, 133.217, 138.647), [2379, 5601, 2619, 0, 0, 0, 776, 302, 67, 115, 429], 4.2591,
         (41.571, 32.941)),
        ("pose", (157.208, 150.709, 151.918), [4197, 3238, 657, 0, 0, 0, 0, 1905, 0, 0, 2291], 3.6572,
         (68.539, 35.947)),
    ],
)  # fmt: skip
def test_a_scene_never_changes(task: str, colours: Any, pixels: Any, depth: float, joints: Any) -> None:
    """Published results name these scenes. Tolerances allow for the rounding of other processors."""
    scene = SyntheticScenes("val", task, SMALL).scene(3)
    np.testing.assert_allclose(scene.image.mean((1, 2)), colours, atol=0.01)
    np.testing.assert_allclose(np.bincount(scene.mask.ravel(), minlength=len(p.CLASSES)), pixels, atol=2)
    np.testing.assert_allclose(scene.depth.mean(), depth, atol=0.001)
    np.testing.assert_allclose(scene.people[0].keypoints.mean(0), joints, atol=0.001)


def test_a_scene_is_the_same_at_every_size() -> None:
    large, small = SyntheticScenes(size=(192, 256)), SyntheticScenes(size=(96, 128))
    for index in range(5):
        agree = large.scene(index).mask[::2, ::2] == small.scene(index).mask
        assert agree.mean() > 0.85


def test_segmentation_and_depth_see_the_same_world() -> None:
    mask = SyntheticScenes(task="segmentation", size=SMALL)[4]
    depth = SyntheticScenes(task="depth", size=SMALL)[4]
    assert torch.equal(mask["image"], depth["image"])
    assert (depth["depth"][mask["mask"] == p.SKY] == 0).all()


# The contract of a sample


def test_samples_are_what_a_dataset_promises() -> None:
    for task in ("segmentation", "depth", "pose"):
        dataset = open_dataset("synthetic", task=task, split="val", size=SMALL, count=7)
        assert (len(dataset), dataset.name, dataset.split, dataset.task.kind) == (7, "synthetic", "val", task)
        assert dataset.size(0) == (128, 96)
        sample = dataset[2]
        assert isinstance(sample["image"], tv_tensors.Image)
        assert sample["image"].dtype == torch.uint8
        assert sample["image"].shape == (3, *SMALL)
        assert sample["name"] == "val-000002"
        labels = {"segmentation": {"mask"}, "depth": {"depth"}, "pose": {"keypoints", "visible", "box", "head_size"}}
        assert set(sample) - {"image", "name"} == labels[task]
        if task == "segmentation":
            assert sample["mask"].shape == SMALL
            assert sample["mask"].dtype == torch.uint8
            assert int(sample["mask"].max()) < dataset.task.outputs == 11
        elif task == "depth":
            assert sample["depth"].shape == SMALL
            assert sample["depth"].dtype == torch.float32
        else:
            assert isinstance(sample["keypoints"], tv_tensors.KeyPoints)
            assert dataset.task.outputs == 16
            assert sample["keypoints"].shape == (16, 2)
            assert sample["keypoints"].dtype == torch.float32
            assert sample["visible"].shape == (16,)
            assert sample["visible"].dtype == torch.bool
            assert sample["box"].shape == (1, 4)
            assert sample["box"].format is tv_tensors.BoundingBoxFormat.XYXY
            assert sample["box"].canvas_size == sample["keypoints"].canvas_size == SMALL


def test_lengths_and_ends() -> None:
    assert {split: len(SyntheticScenes(split)) for split in COUNTS} == COUNTS
    dataset = SyntheticScenes(size=(32, 32), count=3)
    assert torch.equal(dataset[-1]["image"], dataset[2]["image"])
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "training"}, "no split 'training'"),
        ({"task": "flow"}, "only for segmentation, pose, depth"),
        ({"size": (8, 64)}, "at least 16"),
        ({"count": 0}, "at least 1"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(FastnasError, match=says):
        SyntheticScenes(**options)


# True geometry


def test_a_ball_halves_in_size_when_twice_as_far() -> None:
    widths = []
    for z in (2.0, 4.0, 8.0):
        ball = p.Round(p.BALL, GREY, (0.0, 1.5, z), (0.0, 1.5, z), 0.5, 0.5)
        scene = staged(ball, size=(257, 257))
        row = np.flatnonzero(scene.mask[128] == p.BALL)
        widths.append(len(row))
        assert scene.depth[128, 128] == pytest.approx(z - 0.5, abs=0.01)
        assert len(row) == pytest.approx(257 * 0.5 / z, abs=2)  # diameter 1 m at a focal length of 257 / 2 pixels
    assert widths[0] > 1.9 * widths[1] > 3.6 * widths[2]


def test_the_ground_is_as_far_as_its_plane_says() -> None:
    scene = staged(height=1.6)
    rows = np.arange(128)[:, None] - 63.5
    expected = np.broadcast_to(1.6 * 64 / np.maximum(rows, 1e-6), (128, 128))
    near = (rows > 0) & (expected < RANGE[1]) & (scene.mask == p.GROUND)
    assert near.sum() > 6000
    np.testing.assert_allclose(scene.depth[near], expected[near], rtol=1e-4)


def test_cylinders_and_blocks_are_where_they_stand() -> None:
    barrel = staged(p.Cylinder(p.BARREL, GREY, (0.0, 0.0, 4.0), 0.5, 3.0))
    assert barrel.mask[64, 63] == p.BARREL
    assert barrel.depth[64, 63] == pytest.approx(3.5, abs=0.01)
    assert (barrel.mask[60] == p.BARREL).sum() == pytest.approx(2 * 64 * math.tan(math.asin(0.5 / 4)), abs=1.5)
    block = staged(*objects.building(Random(1), 0.0, 6.0, 0.0, (2.0, 4.0, 2.0)))
    assert block.mask[64, 63] == p.BUILDING
    assert block.depth[64, 63] == pytest.approx(5.0, abs=0.01)
    assert (block.mask[60] == p.BUILDING).sum() == pytest.approx(64 * 2 / 5, abs=1.5)


def test_what_is_nearer_hides_what_is_behind_in_any_order() -> None:
    near = p.Round(p.BALL, GREY, (0.0, 1.5, 3.0), (0.0, 1.5, 3.0), 0.5, 0.5)
    far = p.Cylinder(p.BARREL, GREY, (0.0, 0.0, 6.0), 0.6, 3.0)
    one, other = staged(near, far), staged(far, near)
    assert one.mask[64, 64] == p.BALL
    assert {p.BALL, p.BARREL} <= set(np.unique(one.mask))
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.depth, other.depth)


@pytest.mark.parametrize(
    ("label", "make"),
    [
        (p.BOX, lambda rng: objects.box(rng, 0.3, 4.0, 1.0)),
        (p.CAR, lambda rng: objects.car(rng, -0.4, 6.0, 1.0)),
        (p.BUILDING, lambda rng: objects.building(rng, 0.0, 9.0, rng.uniform(-3, 3), (4.0, 5.0, 3.0))),
    ],
)
def test_solids_show_their_outer_faces(label: int, make: Callable[[Random], list[p.Primitive]]) -> None:
    """Leaving out the faces that look away changes nothing that can be seen."""
    for seed in range(12):
        solid = make(Random(seed))
        both = [
            replace(primitive, two_sided=True) if isinstance(primitive, p.Face) else primitive for primitive in solid
        ]
        # From above the roof: blocks have no underside.
        culled, whole = staged(*solid, height=1.7), staged(*both, height=1.7)
        inner = cv2.erode((whole.mask == label).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert inner.sum() > 100
        assert (culled.mask[inner] == label).all()
        assert (culled.image == whole.image).all(axis=0)[inner].mean() > 0.99, seed


def test_depth_is_in_range_or_missing(scenes: list[Scene]) -> None:
    for scene in scenes:
        known = scene.depth[scene.depth > 0]
        assert known.min() >= RANGE[0]
        assert known.max() <= RANGE[1] * (1 + 1e-5)
        assert (scene.depth[scene.mask == p.SKY] == 0).all()
        objects_seen = (scene.mask != p.SKY) & (scene.mask != p.GROUND) & (scene.mask != p.BUILDING)
        assert (scene.depth[objects_seen] > 0).mean() > 0.95 or objects_seen.sum() < 50


# People


def test_visible_joints_lie_on_the_person(scenes: list[Scene]) -> None:
    seen = 0
    for scene in scenes:
        for person in scene.people:
            columns, rows = np.rint(person.keypoints[person.visible]).astype(int).T
            assert (scene.mask[rows, columns] == p.PERSON).all()
            gap = person.distances[person.visible] - scene.depth[rows, columns]
            assert (np.abs(gap) < BODY).all()
            seen += len(rows)
    assert seen > 500


def test_a_person_alone_shows_most_joints_and_none_behind_a_wall() -> None:
    shown = []
    for seed in range(20):
        person = make_person(Random(seed), 0.0, 4.0)
        assert len(person.primitives) > 10
        open_air = staged(*person.primitives, people=(person,)).people[0]
        shown.append(int(open_air.visible.sum()))
        inside = (open_air.keypoints > np.array(open_air.box[:2])) & (open_air.keypoints < np.array(open_air.box[2:]))
        assert inside.all()
        wall = objects.building(Random(1), 0.0, 2.4, 0.0, (9.0, 9.0, 0.4))
        hidden = staged(*wall, *person.primitives, people=(person,)).people[0]
        assert not hidden.visible.any()
        np.testing.assert_array_equal(hidden.keypoints, open_air.keypoints)
    assert np.mean(shown) > 13
    assert min(shown) >= 8


def test_left_is_left_and_knees_bend_backward() -> None:
    """The side of the joints' names agrees with the side that the body faces, told by how knees bend."""
    for seed in range(60):
        joints = make_person(Random(seed), 0.0, 5.0).joints.astype(float)
        forward = np.cross(joints[2] - joints[3], (0.0, 1.0, 0.0))  # right x up, X right and Z away from the camera
        forward /= np.linalg.norm(forward)
        for hip, knee, ankle in ((2, 1, 0), (3, 4, 5)):
            thigh, shin = joints[knee] - joints[hip], joints[ankle] - joints[knee]
            swing = [math.atan2(bone @ forward, -bone[1]) for bone in (thigh, shin)]
            assert swing[1] <= swing[0] + 0.02
        assert joints[:, 1].min() > 0


def test_facing_the_camera_shows_the_right_hand_on_the_left_of_the_picture() -> None:
    facing = 0
    for seed in range(60):
        person = make_person(Random(seed), 0.0, 5.0)
        shoe = person.primitives[10]
        assert isinstance(shoe, p.Round)
        toes = shoe.end[2] - shoe.start[2]
        if toes < -0.12:  # the shoe points at the camera
            facing += 1
            assert person.joints[2, 0] < person.joints[3, 0]
    assert facing > 8


def test_a_pose_sample_is_framed_on_its_person() -> None:
    dataset = SyntheticScenes(task="pose", size=(128, 96))
    for index in range(25):
        sample = dataset[index]
        x0, y0, x1, y1 = sample["box"][0].tolist()
        assert 0.55 < max((x1 - x0) / 96, (y1 - y0) / 128) < 0.9
        assert abs((x0 + x1) / 2 - 47.5) < 7
        assert abs((y0 + y1) / 2 - 63.5) < 9
        assert sample["visible"].sum() >= 8
        assert 3 < sample["head_size"] < 40


def test_framing_is_a_sharper_crop() -> None:
    world = compose(Random("framing"), (96, 96), people=(1, 1))
    box = outline(world.camera, world.people[0])
    near = world.camera.framing(box, 0.5, (0.0, 0.0))
    zoom = near.focal / world.camera.focal
    wide_joints = render(world, world.camera).people[0].keypoints
    near_joints = render(world, near).people[0].keypoints
    np.testing.assert_allclose(np.ptp(near_joints, axis=0), zoom * np.ptp(wide_joints, axis=0), rtol=1e-3)


# Variety


def test_every_class_is_common(scenes: list[Scene]) -> None:
    present = np.array([np.bincount(scene.mask.ravel(), minlength=len(p.CLASSES)) > 0 for scene in scenes])
    share = dict(zip(p.CLASSES, present.mean(0).tolist(), strict=True))
    assert share["ground"] == 1.0
    assert min(share.values()) >= 0.4, share


def test_no_class_has_a_colour_of_its_own(scenes: list[Scene]) -> None:
    """Mean colours of an object class spread as widely within the class as the classes' means lie apart, or wider."""
    colours: dict[int, list[npt.NDArray[np.float64]]] = {}
    for scene in scenes:
        for label in (p.BUILDING, p.BOX, p.BALL, p.BARREL, p.CAR, p.SIGN, p.POLE, p.PERSON):
            where = scene.mask == label
            if where.sum() > 20:
                colours.setdefault(label, []).append(scene.image[:, where].mean(1))
    within = np.mean([np.std(values, axis=0).mean() for values in colours.values()])
    between = np.std([np.mean(values, axis=0) for values in colours.values()], axis=0).mean()
    assert within > 2 * between


def test_objects_come_in_many_sizes(scenes: list[Scene]) -> None:
    for label in (p.BOX, p.CAR, p.PERSON):
        areas = sorted(int((scene.mask == label).sum()) for scene in scenes if (scene.mask == label).any())
        assert areas[len(areas) // 10] * 8 < areas[-len(areas) // 10 - 1]


def test_pictures_are_exposed(scenes: list[Scene]) -> None:
    means = [scene.image.mean() for scene in scenes]
    assert min(means) > 25
    assert max(means) < 235
    assert np.std(means) > 15
    assert min(scene.image.std() for scene in scenes) > 12
