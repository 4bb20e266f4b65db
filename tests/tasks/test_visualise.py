"""What pictures show: the right colour in the right place, and a legend."""

from __future__ import annotations

import numpy as np
import torch
from torchvision import tv_tensors

from fastnas.data.transforms import eval_transform
from fastnas.tasks import IGNORE, Depth, Pose, Segmentation
from fastnas.tasks.registry import head_for
from fastnas.tasks.visualise import CENTRE, LEFT, PAPER, RIGHT
from fastnas.train.run_log import truth_and_prediction

CITY = Segmentation(("sky", "road", "car"), ((0, 0, 250), (250, 0, 0), (0, 250, 0)))
ROOM = Depth(0.5, 10.0)
BODY = Pose(("left_hip", "right_hip", "head_top"), ((0, 1), (0, 2)), (1, 0, 2))
BLACK = torch.zeros(3, 480, 640, dtype=torch.uint8)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == np.array(colour)).all(-1).sum())


def test_classes_are_laid_over_the_image_and_named():
    mask = torch.zeros(480, 640, dtype=torch.int64)
    mask[240:] = 1
    mask[:, 600:] = IGNORE
    picture = head_for(CITY).draw(BLACK, mask)
    assert picture.shape[1] == 640
    assert picture.shape[0] > 480
    assert picture[100, 100].tolist() == [0, 0, 150]
    assert picture[300, 100].tolist() == [150, 0, 0]
    assert picture[100, 620].tolist() == [0, 0, 0]  # ignored pixels show the image
    legend = picture[480:]
    assert count(legend, CITY.colours[0]) > 50
    assert count(legend, CITY.colours[1]) > 50
    assert count(legend, CITY.colours[2]) == 0  # no car in the picture, none in the legend
    assert count(legend, PAPER) < legend.shape[0] * legend.shape[1]


def test_a_long_legend_wraps():
    names = tuple(f"a rather long name {index}" for index in range(40))
    task = Segmentation(names, tuple((index, 100, 200) for index in range(40)))
    picture = head_for(task).draw(BLACK, torch.arange(40).repeat_interleave(12)[:, None].expand(480, 640))
    for colour in task.colours:
        assert count(picture[480:], colour) > 50


def test_small_images_are_enlarged_to_be_read():
    picture = head_for(CITY).draw(torch.zeros(3, 96, 128, dtype=torch.uint8), torch.zeros(96, 128))
    assert picture.shape[1] == 4 * 128


def test_depth_runs_from_bright_to_dark_beside_the_image():
    depth = torch.linspace(0.5, 10, 640).repeat(480, 1)
    depth[:100] = 0
    picture = head_for(ROOM).draw(BLACK, depth)
    assert picture.shape[0] == 480
    assert picture.shape[1] > 2 * 640
    assert (picture[:, :640] == 0).all()
    assert (picture[:100, 640:1280] == 128).all()  # missing
    brightness = picture[300, 640:1280].astype(int).sum(-1)
    assert brightness[0] > brightness[320] > brightness[-1]
    scale = picture[:, 1280:]
    assert scale[0].astype(int).sum(-1).min() < 3 * 255


def test_the_scale_has_the_colours_of_the_map():
    """Two metres have one colour in the map and beside the label of two metres."""
    picture = head_for(ROOM).draw(BLACK, torch.full((480, 640), 2.0))
    share = np.log(2 / 0.5) / np.log(10 / 0.5)
    bar = picture[round(share * 479), 1280 + 14]
    assert np.abs(bar.astype(int) - picture[200, 900].astype(int)).max() <= 3


def test_joints_have_their_sides_colours():
    joints = torch.tensor([[100.0, 200, 0.9], [300, 220, 0.9], [200, 50, 0.9]])
    picture = head_for(BODY).draw(BLACK, joints)
    assert picture[200, 100].tolist() == list(LEFT)
    assert picture[220, 300].tolist() == list(RIGHT)
    assert picture[50, 200].tolist() == list(CENTRE)
    assert picture[210, 200].tolist() == list(CENTRE)  # the bone between left and right
    for colour in (LEFT, RIGHT, CENTRE):
        assert count(picture[480:], colour) > 50


def test_joints_of_low_confidence_are_not_drawn():
    joints = torch.tensor([[100.0, 200, 0.9], [300, 220, 0.01], [200, 50, 0.0]])
    picture = head_for(BODY).draw(BLACK, joints)[:480]
    assert count(picture, LEFT) > 0
    assert count(picture, RIGHT) == count(picture, CENTRE) == 0


def test_the_image_is_not_changed():
    image = torch.full((3, 480, 640), 7, dtype=torch.uint8)
    head_for(BODY).draw(image, torch.tensor([[100.0, 200, 1]] * 3))
    assert (image == 7).all()


def test_pictures_leave_the_padding_out():
    image = tv_tensors.Image(torch.randint(0, 256, (3, 450, 500), dtype=torch.uint8))
    mask = tv_tensors.Mask(torch.zeros(450, 500, dtype=torch.uint8))
    sample = eval_transform(CITY, multiple=32)({"name": "a", "image": image, "mask": mask})
    assert sample["image"].shape == (3, 480, 512)
    head = head_for(CITY)
    truth, prediction = truth_and_prediction(head, sample, torch.rand(1, CITY.outputs, 120, 128))
    np.testing.assert_array_equal(truth[:450], head.draw(image, mask.long())[:450])
    assert truth.shape[1] == prediction.shape[1] == 500
