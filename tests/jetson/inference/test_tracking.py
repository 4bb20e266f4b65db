"""Where the crop of a pose network comes from, and how its joints get back into the frame."""

import numpy as np
import pytest

from fastnas.jetson.inference.predictions import Box
from fastnas.jetson.inference.tracking import PersonTracker, crop, find_person, people_classes, to_frame

SIZE = (240, 320)


def test_the_largest_component_of_people_is_the_person():
    ids = np.zeros((60, 80), np.uint8)
    ids[10:20, 10:15] = 2
    ids[30:50, 40:60] = 2
    assert find_person(ids, (2,), SIZE) == (160, 120, 240, 200)
    assert find_person(ids, (1,), SIZE) is None
    ids[:] = 0
    ids[5:7, 5:7] = 2  # four pixels are noise
    assert find_person(ids, (2,), SIZE) is None
    assert people_classes(["sky", "Pedestrian", "person"]) == (1, 2)


def test_the_box_without_a_segmented_person():
    """The last pose while it is confident, the initial box, the whole frame, or none."""
    ids = np.zeros((60, 80), np.uint8)
    ids[30:50, 40:60] = 2
    initial = Box(1, 2, 30, 40)
    pose = np.array([[100, 100, 0.8], [140, 180, 0.8], [120, 140, 0.02]], np.float32)
    assert PersonTracker().box(SIZE) == (0, 0, 320, 240)
    assert PersonTracker().box(SIZE, ids, ()) == (0, 0, 320, 240), "no class of people"
    assert PersonTracker().box(SIZE, np.zeros_like(ids), (2,)) is None, "a class of people, and nobody"
    assert PersonTracker(initial).box(SIZE, np.zeros_like(ids), (2,)) == initial
    tracker = PersonTracker(initial)
    assert tracker.box(SIZE) == initial
    tracker.update(pose, SIZE)
    assert tracker.box(SIZE) == pytest.approx((96, 92, 144, 188))
    tracker.update(pose + np.array([10, 0, 0], np.float32), SIZE)
    tracked = tracker.box(SIZE)
    assert tracked is not None
    assert tracked.left == pytest.approx(101)  # moves half the way
    pose[1, 2] = 0.01
    tracker.update(pose, SIZE)
    assert tracker.box(SIZE) == initial, "too few confident joints"
    tracker.update(np.array([[900, 900, 1], [950, 990, 1], [920, 950, 1]], np.float32), SIZE)
    assert tracker.box(SIZE) == initial


def test_a_segmented_person_takes_precedence_over_the_last_pose():
    ids = np.zeros((60, 80), np.uint8)
    ids[30:50, 40:60] = 2
    tracker = PersonTracker()
    assert tracker.box(SIZE, ids, (2,)) == (160, 120, 240, 200)
    astray = np.array([[10, 10, 1], [60, 60, 1], [30, 90, 1]], np.float32)
    tracker.update(astray, SIZE)
    assert tracker.box(SIZE, ids, (2,)) == (160, 120, 240, 200)
    moved = np.roll(ids, 5, axis=1)
    assert tracker.box(SIZE, moved, (2,)) == (170, 120, 250, 200), "half the way"
    assert tracker.box(SIZE, np.roll(ids, -35, axis=1), (2,)) == (20, 120, 100, 200), "another person"
    assert tracker.box(SIZE, np.zeros_like(ids), (2,)) is None
    assert tracker.box(SIZE, ids, (2,)) == (160, 120, 240, 200)


def test_joints_come_back_to_where_they_were_crop():
    """A mark in the frame, cropped and resized as the network sees it, is found where it was."""
    import cv2

    frame = np.zeros((200, 300, 3), np.uint8)
    frame[90:93, 140:143] = 255
    for box in (Box(100, 50, 180, 150), Box(-40, -30, 200, 260), Box(120, 80, 160, 100)):
        part, where = crop(frame, box, (256, 192), (7, 8, 9))
        assert abs(where.size[0] / where.size[1] - 192 / 256) < 0.02
        small = cv2.resize(part, (192, 256), interpolation=cv2.INTER_AREA)[..., 0].astype(float)
        small[small < 60] = 0
        y, x = (np.arange(256) @ small.sum(1), np.arange(192) @ small.sum(0)) / small.sum()
        found = to_frame(np.array([[x, y, 1]], np.float32), where, (256, 192))[0]
        assert found[:2] == pytest.approx((141, 91), abs=0.6)


def test_a_crop_is_filled_outside_the_frame():
    part, where = crop(np.zeros((100, 100, 3), np.uint8), Box(-60, -60, 20, 20), (64, 64), (7, 8, 9))
    assert part.shape == (100, 100, 3)
    assert list(where) == [-70, -70, 30, 30]
    assert (part[:70] == (7, 8, 9)).all()
    assert (part[70:, 70:] == 0).all()
    far, _ = crop(np.zeros((100, 100, 3), np.uint8), Box(500, 500, 580, 580), (64, 64), (7, 8, 9))
    assert (far == (7, 8, 9)).all()
