"""What goes into a network and what comes out: pixels to input arrays, output arrays to classes, joints and metres."""

import numpy as np
import pytest

from fastnas.jetson.inference import decode
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.sidecar import Input, Output

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(height, width):
    return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_floats_are_normalised_rgb_planes():
    frame, out = picture(32, 64), np.zeros((1, 3, 32, 64), np.float32)
    Preprocessor(Input("image", "NCHW", MEAN, STD), (32, 64))(frame, out)
    rgb = frame[:, :, ::-1].astype(np.float64) / 255
    np.testing.assert_allclose(out[0], ((rgb - MEAN) / STD).transpose(2, 0, 1), atol=2e-6)


def test_bytes_are_raw_rgb_pixels():
    frame, out = picture(32, 64), np.zeros((1, 32, 64, 3), np.uint8)
    Preprocessor(Input("image", "NHWC", MEAN, STD), (32, 64))(frame, out)
    np.testing.assert_array_equal(out[0], frame[:, :, ::-1])


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (1, 3, 64, 32)), ("NHWC", (1, 64, 32, 3))])
@pytest.mark.parametrize("size", [(128, 64), (32, 16), (128, 16)])
def test_another_size_is_scaled(layout, shape, size):
    frame = np.full(size + (3,), (0, 0, 255), np.uint8)  # red, in OpenCV's order
    out = np.zeros(shape, np.float32 if layout == "NCHW" else np.uint8)
    Preprocessor(Input("image", layout, (0, 0, 0), (1, 1, 1)), (64, 32))(frame, out)
    pixels = out[0].transpose(1, 2, 0) * 255 if layout == "NCHW" else out[0]
    np.testing.assert_allclose(pixels, np.broadcast_to((255, 0, 0), (64, 32, 3)), atol=1e-4)


def test_labels_of_logits_and_of_class_ids():
    logits = np.zeros((1, 3, 2, 2), np.float32)
    logits[0, 2, 0, 1] = logits[0, 1, 1, 0] = 5
    expected = [[0, 2], [1, 0]]
    for array in (logits, np.array([expected], np.int64)):
        found = decode.decoder_for(Output("o", "logits", 4))(array)
        assert found.dtype == np.uint8
        assert found.tolist() == expected


def test_a_joint_is_its_peak_moved_towards_the_higher_neighbour():
    maps = np.zeros((1, 2, 8, 16), np.float32)
    maps[0, 0, 3, 5], maps[0, 0, 3, 6], maps[0, 0, 2, 5] = 1, 0.5, 0.5
    maps[0, 1, 0, 15] = 0.25  # in a corner there is nothing to move towards
    found = decode.decoder_for(Output("o", "heatmaps", 4))(maps)
    np.testing.assert_allclose(found, [[(5.25 + 0.5) * 4 - 0.5, (2.75 + 0.5) * 4 - 0.5, 1], [61.5, 1.5, 0.25]])


def test_a_gaussian_is_found_within_a_quarter_of_a_cell():
    y, x = np.mgrid[:64, :64]
    for centre_x, centre_y in [(100.0, 60.0), (101.9, 131.2), (47.3, 200.0)]:
        cell_x, cell_y = (centre_x + 0.5) / 4 - 0.5, (centre_y + 0.5) / 4 - 0.5
        heat = np.exp(-((x - cell_x) ** 2 + (y - cell_y) ** 2) / (2 * 2.0**2))[None, None]
        ((found_x, found_y, score),) = decode.joints(heat.astype(np.float32), 4)
        assert abs(found_x - centre_x) <= 1.01
        assert abs(found_y - centre_y) <= 1.01
        assert score > 0.9


def test_depth_is_the_array_itself():
    array = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    assert decode.decoder_for(Output("o", "depth", 4))(array).tolist() == array[0, 0].tolist()
