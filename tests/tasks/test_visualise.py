"""Labels and predictions on their images: drawn as the camera draws them, in R, G, B and large enough to be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from fastnas.data.transforms import eval_transform
from fastnas.jetson.inference.draw import LEFT, RIGHT
from fastnas.tasks import IGNORE, Depth, Pose, Segmentation
from fastnas.tasks.registry import head_for
from fastnas.train.run_log import truth_and_prediction

CITY = Segmentation(("sky", "road", "car"), ((0, 0, 250), (250, 0, 0), (0, 250, 0)))
ROOM = Depth(0.5, 10.0)
BODY = Pose(("left_hip", "right_hip", "head_top"), ((0, 1), (0, 2)), (1, 0, 2))
BLACK = torch.zeros(3, 480, 640, dtype=torch.uint8)


def test_classes_are_blended_with_the_image() -> None:
    mask = torch.zeros(480, 640, dtype=torch.int64)
    mask[240:] = 1
    mask[:, 600:] = IGNORE
    image = head_for(CITY).draw(BLACK, mask)
    assert image.shape == (480, 640, 3)
    for (y, x), colour in (((100, 100), (0, 0, 125)), ((260, 500), (125, 0, 0)), ((100, 620), (0, 0, 0))):
        np.testing.assert_allclose(image[y, x], colour, atol=2)


def test_the_legend_has_the_classes_that_occur() -> None:
    mask = torch.zeros(480, 640, dtype=torch.int64)
    mask[240:] = 1
    legend = head_for(CITY).draw(BLACK, mask)[380:]
    counts = [int((legend == colour).all(-1).sum()) for colour in CITY.colours]
    assert counts[0] > 30
    assert counts[1] > 30
    assert counts[2] == 0


@pytest.mark.parametrize(("task", "prediction"), [(CITY, torch.zeros(96, 128)), (BODY, torch.ones(3, 3))])
def test_small_images_are_enlarged(task: Segmentation | Pose, prediction: torch.Tensor) -> None:
    image = head_for(task).draw(torch.zeros(3, 96, 128, dtype=torch.uint8), prediction)
    assert image.shape == (4 * 96, 4 * 128, 3)


def test_depth_is_beside_the_image_and_grey_where_it_is_missing() -> None:
    depth = torch.linspace(0.5, 10, 640).repeat(480, 1)
    depth[:100] = 0
    image = head_for(ROOM).draw(BLACK, depth)
    assert image.shape == (480, 1280, 3)
    assert (image[:, :640] == 0).all()
    assert (image[:100, 640:1150] == 128).all()
    red, _, blue = image[300, 640].astype(int)
    assert red > 200 > 100 > blue  # near is yellow


def test_joints_have_the_colours_of_their_sides_at_their_places() -> None:
    """At the centres of enlarged pixels: pixel x of a small image has its centre at 3 (x + 0.5) - 0.5."""
    joints = torch.tensor([[25.0, 50, 0.9], [75, 55, 0.9], [50, 12, 0.0]])
    image = head_for(BODY).draw(BLACK[:, :120, :160], joints)
    assert image[151, 76].tolist() == list(LEFT[::-1])
    assert image[166, 226].tolist() == list(RIGHT[::-1])
    assert (image[20:55, 130:170] == 0).all()  # a joint of a low score
    assert joints[0, 0] == 25


def test_the_image_is_not_changed() -> None:
    image = torch.full((3, 480, 640), 7, dtype=torch.uint8)
    head_for(BODY).draw(image, torch.tensor([[100.0, 200, 1]] * 3))
    assert (image == 7).all()


def test_padding_is_left_out() -> None:
    image = tv_tensors.Image(torch.randint(0, 256, (3, 450, 500), dtype=torch.uint8))
    mask = tv_tensors.Mask(torch.zeros(450, 500, dtype=torch.uint8))
    sample = eval_transform(CITY, multiple=32)({"name": "a", "image": image, "mask": mask})
    assert sample["image"].shape == (3, 480, 512)
    head = head_for(CITY)
    truth, prediction = truth_and_prediction(head, sample, torch.rand(1, CITY.outputs, 120, 128))
    np.testing.assert_array_equal(truth, head.draw(image, mask.long()))
    assert truth.shape[1] == prediction.shape[1] == 500
