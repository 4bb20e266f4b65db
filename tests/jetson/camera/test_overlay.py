"""What is drawn, by exact colours, and where the person of a pose is looked for."""

from typing import Any

import numpy as np
import pytest

from fastnas.jetson import sidecar
from fastnas.jetson.camera.overlay import LEFT, RIGHT, Drawer
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference import networks
from fastnas.jetson.inference.networks import Choice, Networks, Seen, check_tasks, input_size
from fastnas.jetson.inference.tracking import Box, PersonTracker, cut_out, find_person, people_of, to_picture
from tests.helpers.jetson_toys import toy_artifacts

SIZE = (240, 320)
NEAREST, FARTHEST = (36, 231, 253), (84, 1, 68)  # the ends of the viridis map, B, G, R


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    return {kind: sidecar.load(folder) for kind, folder in toy_artifacts(tmp_path_factory).items()}


@pytest.fixture
def drawer(artifacts):
    return Drawer(artifacts)


def grey(value=100, size=SIZE):
    return np.full(size + (3,), value, np.uint8)


def test_a_class_is_mixed_with_its_colour_by_alpha(drawer):
    ids = np.zeros((60, 80), np.uint8)
    ids[:, 40:] = 1  # road
    for alpha in (0.0, 0.25, 1.0):
        drawn = drawer(grey(), Seen(segmentation=ids), alpha)
        for x, colour in ((80, (180, 130, 70)), (240, (128, 64, 128))):
            assert np.abs(drawn[60, x] - (100 * (1 - alpha) + alpha * np.array(colour))).max() <= 2
    assert drawn.shape == SIZE + (3,)


def test_the_camera_picture_is_not_written_to(drawer):
    picture = grey()
    joints = np.array([[50, 50, 1], [60, 90, 1], [90, 90, 1]], np.float32)
    seen = Seen(np.zeros((60, 80), np.uint8), np.ones((60, 80), np.float32), joints, Box(0, 0, 99, 99))
    drawer(picture, seen, 0.5)
    assert (picture == 100).all()


def test_background_is_not_painted():
    task = {"kind": "segmentation", "classes": ["background", "cat"], "colours": [[0, 0, 0], [255, 0, 0]]}
    artifact = sidecar.Artifact("", sidecar.Sidecar("voc", task, None, None, ()))
    ids = np.zeros((60, 80), np.uint8)
    drawn = Drawer({"segmentation": artifact})(grey(), Seen(segmentation=ids), 1.0)
    assert (drawn == 100).all()  # nor named in a legend


def test_the_legend_names_what_is_there(drawer):
    everything = np.tile(np.arange(3, dtype=np.uint8), (60, 27))[:, :80]
    one = np.zeros((60, 80), np.uint8)
    named = [np.abs(drawer(grey(), Seen(segmentation=ids), 0.01).astype(int) - 100) > 3 for ids in (one, everything)]
    assert named[1].sum() > 1.8 * named[0].sum() > 0
    rows = np.flatnonzero(named[1].any((1, 2)))
    assert rows.min() > SIZE[0] // 2 - 20


@pytest.mark.parametrize("classes", [1, 21, 150])
def test_a_legend_of_any_length_fits(classes):
    task = {"kind": "segmentation", "classes": ["a long class name"] * classes, "colours": [[9, 9, 9]] * classes}
    artifact = sidecar.Artifact("", sidecar.Sidecar("voc", task, None, None, ()))
    ids = (np.arange(60 * 80) % classes).astype(np.uint8).reshape(60, 80)
    for size in ((64, 64), (240, 320), (1080, 1920)):
        drawn = Drawer({"segmentation": artifact})(grey(size=size), Seen(segmentation=ids), 0.01)
        assert drawn.shape == size + (3,)
        assert np.abs(drawn[: size[0] // 2 - size[0] // 8].astype(int) - 100).max() <= 2
        if min(size) > 100:
            assert np.abs(drawn[size[0] // 2 :].astype(int) - 100).max() > 50


def test_depth_stands_beside_or_below_in_the_colours_of_its_range(drawer):
    metres = np.full((60, 80), 0.1, np.float32)
    metres[:, 40:] = 50.0
    drawn = drawer(grey(), Seen(depth=metres), 0.5)
    assert drawn.shape == (240, 640, 3)
    assert (drawn[:, :320] == 100).all()
    assert np.abs(drawn[120, 400] - np.float32(NEAREST)).max() <= 2
    assert np.abs(drawn[5, 630] - np.float32(FARTHEST)).max() <= 2
    assert drawer(grey(size=(160, 320)), Seen(depth=metres), 0.5).shape == (320, 320, 3)


def test_depth_that_is_no_number_is_drawn(drawer):
    metres = np.full((60, 80), np.nan, np.float32)
    metres[0, 0] = -1
    assert drawer(grey(), Seen(depth=metres), 0.5).shape == (240, 640, 3)


def test_a_skeleton_of_sure_joints_alone():
    task = {"kind": "pose", "joints": ["left_hand", "right_hand", "left_foot"], "skeleton": [[0, 2], [0, 1]]}
    drawer = Drawer({"pose": sidecar.Artifact("", sidecar.Sidecar("pose", task, None, None, ()))})
    joints = np.array([[40, 40, 0.9], [200, 40, 0.05], [40, 200, 0.9]], np.float32)
    drawn = drawer(grey(), Seen(pose=joints), 0.5)
    assert tuple(drawn[40, 40]) == LEFT
    assert tuple(drawn[120, 40]) == LEFT  # the bone between two joints of one side
    assert (drawn[30:50, 150:220] == 100).all()
    joints[1, 2] = 0.9
    assert tuple(drawer(grey(), Seen(pose=joints), 0.5)[40, 200]) == RIGHT


def test_joints_far_outside_the_picture_do_no_harm(drawer):
    joints = np.array([[1e9, -1e9, 1], [-5, 400, 1], [50, 50, 1]], np.float32)
    drawer(grey(), Seen(pose=joints, box=Box(-1e6, -1e6, 1e6, 1e6)), 0.5)


def test_the_largest_patch_of_people_is_the_person():
    ids = np.zeros((60, 80), np.uint8)
    ids[10:20, 10:15] = 2
    ids[30:50, 40:60] = 2
    assert find_person(ids, (2,), SIZE) == (160, 120, 240, 200)
    assert find_person(ids, (1,), SIZE) is None
    ids[:] = 0
    ids[5:7, 5:7] = 2  # four pixels are noise
    assert find_person(ids, (2,), SIZE) is None
    assert people_of(["sky", "Pedestrian", "person"]) == (1, 2)


def test_where_the_person_is_looked_for():
    """Without people in the segmentation: the last pose while it is sure, the given box, everywhere or nowhere."""
    ids = np.zeros((60, 80), np.uint8)
    ids[30:50, 40:60] = 2
    given = Box(1, 2, 30, 40)
    pose = np.array([[100, 100, 0.8], [140, 180, 0.8], [120, 140, 0.02]], np.float32)
    assert PersonTracker().box(SIZE) == (0, 0, 320, 240)
    assert PersonTracker().box(SIZE, ids, ()) == (0, 0, 320, 240), "the segmentation does not know people"
    assert PersonTracker().box(SIZE, np.zeros_like(ids), (2,)) is None, "it does, and sees nobody"
    assert PersonTracker(given).box(SIZE, np.zeros_like(ids), (2,)) == given
    tracker = PersonTracker(given)
    assert tracker.box(SIZE) == given
    tracker.update(pose, SIZE)
    assert tracker.box(SIZE) == pytest.approx((96, 92, 144, 188))
    tracker.update(pose + np.array([10, 0, 0], np.float32), SIZE)
    followed = tracker.box(SIZE)
    assert followed is not None
    assert followed.left == pytest.approx(101)  # follows, half the way
    pose[1, 2] = 0.01
    tracker.update(pose, SIZE)
    assert tracker.box(SIZE) == given, "too few joints are sure"
    tracker.update(np.array([[900, 900, 1], [950, 990, 1], [920, 950, 1]], np.float32), SIZE)
    assert tracker.box(SIZE) == given


def test_a_segmented_person_counts_more_than_the_last_pose():
    ids = np.zeros((60, 80), np.uint8)
    ids[30:50, 40:60] = 2
    tracker = PersonTracker()
    assert tracker.box(SIZE, ids, (2,)) == (160, 120, 240, 200)
    astray = np.array([[10, 10, 1], [60, 60, 1], [30, 90, 1]], np.float32)
    tracker.update(astray, SIZE)
    assert tracker.box(SIZE, ids, (2,)) == (160, 120, 240, 200)
    moved = np.roll(ids, 5, axis=1)
    assert tracker.box(SIZE, moved, (2,)) == (170, 120, 250, 200), "half the way"
    assert tracker.box(SIZE, np.roll(ids, -35, axis=1), (2,)) == (20, 120, 100, 200), "somebody else"
    assert tracker.box(SIZE, np.zeros_like(ids), (2,)) is None
    assert tracker.box(SIZE, ids, (2,)) == (160, 120, 240, 200)


def test_joints_come_back_to_where_they_were_cut_out():
    """A mark in the picture, cut out and resized as the network sees it, is found where it was."""
    import cv2

    picture = np.zeros((200, 300, 3), np.uint8)
    picture[90:93, 140:143] = 255
    for box in (Box(100, 50, 180, 150), Box(-40, -30, 200, 260), Box(120, 80, 160, 100)):
        part, where = cut_out(picture, box, (256, 192), (7, 8, 9))
        assert abs(where.size[0] / where.size[1] - 192 / 256) < 0.02
        small = cv2.resize(part, (192, 256), interpolation=cv2.INTER_AREA)[..., 0].astype(float)
        small[small < 60] = 0
        y, x = (np.arange(256) @ small.sum(1), np.arange(192) @ small.sum(0)) / small.sum()
        found = to_picture(np.array([[x, y, 1]], np.float32), where, (256, 192))[0]
        assert found[:2] == pytest.approx((141, 91), abs=0.6)


def test_outside_the_picture_is_the_colour_of_the_mean():
    part, where = cut_out(np.zeros((100, 100, 3), np.uint8), Box(-60, -60, 20, 20), (64, 64), (7, 8, 9))
    assert part.shape == (100, 100, 3)
    assert list(where) == [-70, -70, 30, 30]
    assert (part[:70] == (7, 8, 9)).all()
    assert (part[70:, 70:] == 0).all()
    far, _ = cut_out(np.zeros((100, 100, 3), np.uint8), Box(500, 500, 580, 580), (64, 64), (7, 8, 9))
    assert (far == (7, 8, 9)).all()


def test_input_sizes(artifacts):
    segmentation, pose = artifacts["segmentation"], artifacts["pose"]
    assert input_size(segmentation, None, (272, 640), "fp32") == (224, 512)
    assert input_size(segmentation, None, (1280, 720), "fp32") == (512, 288)
    assert input_size(segmentation, None, (10, 1000), "fp32") == (32, 512)
    assert input_size(segmentation, (96, 64), (272, 640), "fp32") == (96, 64)
    assert input_size(pose, None, (272, 640), "fp32") == (256, 256)
    files = tuple(file._replace(resolution=(192, 320)) for file in segmentation.sidecar.files)
    fixed = segmentation._replace(sidecar=segmentation.sidecar._replace(files=files))
    assert input_size(fixed, None, (272, 640), "fp32") == (192, 320)


def test_two_artifacts_of_one_task_are_refused(artifacts):
    twice = [artifacts["depth"], artifacts["pose"], artifacts["depth"]]
    with pytest.raises(JetsonError, match="toy-depth and toy-depth both do depth"):
        check_tasks(twice)
    assert list(check_tasks([artifacts["pose"], artifacts["segmentation"]])) == ["segmentation", "pose"]


def test_only_the_chosen_tasks_run(artifacts):
    said = []
    networks = Networks(
        check_tasks(list(artifacts.values())), (96, 160), Choice((64, 96), (64, 64), threads=1), said.append
    )
    picture = np.random.RandomState(0).randint(0, 256, (96, 160, 3)).astype(np.uint8)
    seen: Any = networks(picture, ("segmentation", "depth", "pose"))
    assert seen.segmentation.shape == (16, 24)
    assert seen.depth.shape == (16, 24)
    assert seen.pose.shape == (3, 3)
    assert seen.milliseconds > 0
    alone = networks(picture, ("depth",))
    assert alone.segmentation is None
    assert alone.pose is None
    assert np.array_equal(alone.depth, seen.depth)
    first = seen.depth.copy()
    networks(255 - picture, ("depth",))
    assert np.array_equal(first, seen.depth)  # the next pass does not write into what was handed on
    networks.close()
    assert said == [
        "segmentation: toy-segmentation at 64x96, fp32 in onnxruntime",
        "depth: toy-depth at 64x96, fp32 in onnxruntime",
        "pose: toy-pose at 64x64, fp32 in onnxruntime",
    ]


def test_no_pose_where_the_segmentation_sees_nobody(artifacts):
    networks = Networks(
        check_tasks([artifacts["segmentation"], artifacts["pose"]]), (96, 160), Choice((64, 96), (64, 64)), len
    )
    picture = np.zeros((96, 160, 3), np.uint8)
    kinds = ("segmentation", "pose")
    ids: Any = networks(picture, kinds).segmentation
    networks._people = (int(ids.max()) + 1,)
    seen = networks(picture, kinds)
    assert seen.pose is None
    assert seen.box is None
    networks._people = tuple(int(each) for each in np.unique(ids))
    assert networks(picture, kinds).pose is not None
    networks.close()


@pytest.mark.parametrize(
    ("asked", "engine", "expected"),
    [
        (None, "tensorrt", ["fp16", "fp32"]),  # depth has no fp16 file
        ("int8", "tensorrt", ["int8", "int8"]),
        (None, "onnxruntime-cuda", ["fp32", "fp32"]),
    ],
)
def test_each_network_runs_in_what_suits_its_engine(artifacts, monkeypatch, asked, engine, expected):
    opened, said = [], []
    monkeypatch.setattr(networks, "open_engine", lambda artifact, size, precision, *rest: opened.append(precision))
    wide = artifacts["segmentation"]
    half = wide.sidecar.files[0]._replace(path="model.fp16.onnx", precision="fp16")
    wide = wide._replace(sidecar=wide.sidecar._replace(files=wide.sidecar.files + (half,)))
    found = check_tasks([wide, artifacts["depth"]])
    Networks(found, (96, 160), Choice((64, 96), precision=asked, engine=engine), said.append)
    assert opened == expected
    assert [line.split(", ")[1].split()[0] for line in said] == expected
