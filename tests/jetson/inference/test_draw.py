"""Predictions drawn on frames: exact colours, legends and scales of any size."""

import numpy as np
import pytest

from fastnas.jetson.inference import draw as module
from fastnas.jetson.inference.draw import GREY, LEFT, RIGHT, draw
from fastnas.jetson.inference.predictions import Box
from tests.helpers.jetson_toys import TASKS

SIZE = (240, 320)
NEAREST, FARTHEST = (36, 231, 253), (84, 1, 68)  # the ends of the viridis map, B, G, R


def grey(value=100, size=SIZE):
    return np.full(size + (3,), value, np.uint8)


def test_a_class_is_mixed_with_its_colour_by_alpha():
    ids = np.zeros((60, 80), np.uint8)
    ids[:, 40:] = 1  # road
    for alpha in (0.0, 0.25, 1.0):
        drawn = draw(grey(), TASKS, segmentation=ids, alpha=alpha)
        for x, colour in ((80, (180, 130, 70)), (240, (128, 64, 128))):
            assert np.abs(drawn[60, x] - (100 * (1 - alpha) + alpha * np.array(colour))).max() <= 2
    assert drawn.shape == SIZE + (3,)


def test_the_frame_is_not_written_to():
    frame = grey()
    joints = np.array([[50, 50, 1], [60, 90, 1], [90, 90, 1]], np.float32)
    draw(frame, TASKS, np.zeros((60, 80), np.uint8), np.ones((60, 80), np.float32), joints, Box(0, 0, 99, 99))
    assert (frame == 100).all()


def test_background_is_not_painted():
    task = {"kind": "segmentation", "classes": ["background", "cat"], "colours": [[0, 0, 0], [255, 0, 0]]}
    ids = np.zeros((60, 80), np.uint8)
    drawn = draw(grey(), {"segmentation": task}, segmentation=ids, alpha=1.0)
    assert (drawn == 100).all()  # nor named in a legend


def test_the_legend_names_what_is_there():
    everything = np.tile(np.arange(3, dtype=np.uint8), (60, 27))[:, :80]
    one = np.zeros((60, 80), np.uint8)
    named = [
        np.abs(draw(grey(), TASKS, segmentation=ids, alpha=0.01).astype(int) - 100) > 3 for ids in (one, everything)
    ]
    assert named[1].sum() > 1.8 * named[0].sum() > 0
    rows = np.flatnonzero(named[1].any((1, 2)))
    assert rows.min() > SIZE[0] // 2 - 20


@pytest.mark.parametrize("name", ["a\ud800", "\udfff", "a\0b", "\u202e", "\U0001f600", "x" * 5000])
def test_a_name_of_any_text_is_drawn(name):
    """OpenCV crashes of half a surrogate pair, which JSON and file names may hold."""
    task = {"kind": "segmentation", "classes": [name], "colours": [[9, 9, 9]]}
    drawn = draw(grey(), {"segmentation": task}, segmentation=np.zeros((60, 80), np.uint8))
    assert drawn.shape == SIZE + (3,)


@pytest.mark.parametrize("classes", [1, 21, 150])
def test_a_legend_of_any_length_fits(classes):
    task = {"kind": "segmentation", "classes": ["a long class name"] * classes, "colours": [[9, 9, 9]] * classes}
    ids = (np.arange(60 * 80) % classes).astype(np.uint8).reshape(60, 80)
    for size in ((64, 64), (240, 320), (1080, 1920)):
        drawn = draw(grey(size=size), {"segmentation": task}, segmentation=ids, alpha=0.01)
        assert drawn.shape == size + (3,)
        assert np.abs(drawn[: size[0] // 2 - size[0] // 8].astype(int) - 100).max() <= 2
        if min(size) > 100:
            assert np.abs(drawn[size[0] // 2 :].astype(int) - 100).max() > 50


def test_depth_stands_beside_or_below_in_the_colours_of_its_range():
    metres = np.full((60, 80), 0.1, np.float32)
    metres[:, 40:] = 50.0
    drawn = draw(grey(), TASKS, depth=metres)
    assert drawn.shape == (240, 640, 3)
    assert (drawn[:, :320] == 100).all()
    assert np.abs(drawn[120, 400] - np.float32(NEAREST)).max() <= 2
    assert np.abs(drawn[5, 630] - np.float32(FARTHEST)).max() <= 2
    assert draw(grey(size=(160, 320)), TASKS, depth=metres).shape == (320, 320, 3)


def test_depth_that_is_missing_is_grey():
    metres = np.full((60, 80), 2.0, np.float32)
    metres[:20], metres[20:40] = np.nan, 0
    drawn = draw(grey(), TASKS, depth=metres)
    assert (drawn[:155, 330:500] == GREY).all()
    assert (drawn[165:, 330:500] != GREY).any(-1).all()


def test_a_tick_has_the_colour_of_its_distance():
    """Two metres have one colour in the map and beside the label of two metres."""
    drawn = draw(grey(size=(480, 640)), TASKS, depth=np.full((120, 160), 2.0, np.float32))
    share = np.log(2 / 0.5) / np.log(10 / 0.5)
    row = drawn[int(48 + share * 383), 640:].astype(int)
    bar = np.abs(row - row[0]).max(-1) <= 3
    assert bar[:500].all()  # the map
    assert bar[500:].sum() >= 16  # the bar of the scale; everything else there is darkened


def test_a_scale_needs_room():
    drawn = draw(grey(size=(64, 64)), TASKS, depth=np.full((16, 16), 10.0, np.float32))
    assert np.abs(drawn[:, 64:].astype(int) - FARTHEST).max() <= 2


def test_a_skeleton_of_confident_joints_alone():
    task = {"kind": "pose", "joints": ["left_hand", "right_hand", "left_foot"], "skeleton": [[0, 2], [0, 1]]}
    joints = np.array([[40, 40, 0.9], [200, 40, 0.05], [40, 200, 0.9]], np.float32)
    drawn = draw(grey(), {"pose": task}, pose=joints)
    assert tuple(drawn[40, 40]) == LEFT
    assert tuple(drawn[120, 40]) == LEFT  # the bone between two joints of one side
    assert (drawn[30:50, 150:220] == 100).all()
    joints[1, 2] = 0.9
    assert tuple(draw(grey(), {"pose": task}, pose=joints)[40, 200]) == RIGHT


def test_joints_far_outside_the_frame_do_no_harm():
    joints = np.array([[1e9, -1e9, 1], [-5, 400, 1], [50, 50, 1]], np.float32)
    draw(grey(), TASKS, pose=joints, box=Box(-1e6, -1e6, 1e6, 1e6))


def test_the_sides_of_a_body_are_in_the_legend():
    task = {"kind": "pose", "joints": ["left_hand", "right_hand"], "skeleton": []}
    joints = np.array([[40, 40, 0.9], [200, 40, 0.9]], np.float32)
    drawn = draw(grey(), {"pose": task}, pose=joints)
    for colour in (LEFT, RIGHT):
        assert (drawn[150:] == colour).all(-1).sum() > 50
    joints[:, 2] = 0
    assert (draw(grey(), {"pose": task}, pose=joints) == 100).all()


class Painted:
    """Instead of a stamp: paints onto every image."""

    def __init__(self, size, box, paint):
        self.box, self.paint = box, paint

    def put(self, canvas):
        module._shade(canvas, self.box)
        self.paint(canvas)


def forget():
    module._legend.cache_clear()
    module._scale.cache_clear()


@pytest.mark.parametrize("size", [(64, 64), (240, 320), (720, 1280)])
def test_what_is_kept_of_legend_and_scale_looks_as_if_painted_anew(size, monkeypatch):
    frame = np.random.RandomState(0).randint(0, 256, size + (3,)).astype(np.uint8)
    ids = np.tile(np.arange(3, dtype=np.uint8), (60, 27))[:, :80]
    forget()
    kept = [draw(frame, TASKS, ids, np.ones((60, 80), np.float32)) for _ in range(2)]
    assert (kept[0] == kept[1]).all()
    monkeypatch.setattr(module, "_stamp", Painted)
    forget()
    painted = draw(frame, TASKS, ids, np.ones((60, 80), np.float32))
    forget()
    difference = np.abs(kept[0].astype(int) - painted)
    assert difference.max() <= 6
    assert (difference > 1).mean() < 0.01


def test_legend_and_scale_are_drawn_once(monkeypatch):
    written = []
    monkeypatch.setattr(module._Text, "write", lambda self, canvas, text, at: written.append(text))
    forget()
    for _ in range(5):
        draw(grey(size=(720, 1280)), TASKS, np.full((60, 80), 1, np.uint8), np.ones((60, 80), np.float32))
    forget()
    assert written.count("road") == 2  # once on black, once on white
    assert written.count("0.5 m") == 2
