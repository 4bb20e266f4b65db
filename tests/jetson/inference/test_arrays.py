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
        found = decode.decoder_for(Output("o", {}, "logits", 4))(array)
        assert found.dtype == np.uint8
        assert found.tolist() == expected


def gaussian(x, y, stride, size):
    """The heatmap that a network is trained to show for a joint at (x, y), pixels of an input of `size` (H, W)."""
    rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride] * stride + (stride - 1) / 2
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * decode.SIGMA**2)).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 3, 21])
def test_fine_labels_are_the_highest_of_interpolated_logits(classes):
    """Between two cells whose logits cross, the edge is where the line between their centres crosses."""
    logits = np.random.RandomState(0).randn(1, classes, 5, 7).astype(np.float32)
    found = decode.labels(logits, (20, 28))
    assert (found.shape, found.dtype) == ((20, 28), np.uint8)
    planes = logits[0].transpose(1, 2, 0)
    y, x = np.clip((np.arange(20) + 0.5) / 4 - 0.5, 0, 4), np.clip((np.arange(28) + 0.5) / 4 - 0.5, 0, 6)
    above, left = np.minimum(y.astype(int), 3)[:, None], np.minimum(x.astype(int), 5)
    down, right = (y[:, None] - above)[..., None], (x - left)[:, None]
    rows = [planes[row, left] * (1 - right) + planes[row, left + 1] * right for row in (above, above + 1)]
    np.testing.assert_array_equal(found, (rows[0] * (1 - down) + rows[1] * down).argmax(2))


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_gaussians_are_found_between_cells(stride):
    random = np.random.RandomState(0)
    # Farther from the edge than the outer points of the parabola.
    points = random.uniform(1.5 * max(stride, decode.SIGMA) + 4, 128 - 1.5 * max(stride, decode.SIGMA) - 4, (2, 10, 2))
    maps = np.array([[gaussian(x, y, stride, (128, 128)) for x, y in people] for people in points])
    found = decode.joints(maps, stride)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., :2], points, rtol=0, atol=2e-3)
    np.testing.assert_array_equal(found[..., 2], maps.max((2, 3)))
    heatmaps = decode.decoder_for(Output("o", {}, "heatmaps", stride))(maps[1:])
    np.testing.assert_array_equal(heatmaps, found[1])


def test_noise_moves_joints_less_than_the_usual_quarter_of_a_cell():
    """The usual decoder moves a peak a quarter of a cell to its higher neighbour: here its RMS error is 0.7 pixels."""
    random = np.random.RandomState(0)
    points = random.uniform(30, 98, (1, 400, 2))
    maps = np.array([[gaussian(x, y, 4, (128, 128)) for x, y in people] for people in points])
    maps += random.normal(0, 0.02, maps.shape).astype(np.float32)
    error = decode.joints(maps, 4)[..., :2] - points
    assert np.sqrt((error**2).mean()) < 0.25


def test_a_joint_at_the_edge_of_the_map_is_at_its_highest_cell():
    maps = np.zeros((1, 4, 8, 16), np.float32)
    maps[0, 0, 0, 15] = 0.25
    maps[0, 1, 7, 1], maps[0, 1, 7, 0] = 1, 0.9  # one cell from the edge, and the parabola needs two
    maps[0, 2, 3, 2:7:2] = 0.5, 1, 0.25  # inside along x, and of equal neighbours along y
    found = decode.joints(maps, 4)[0]
    np.testing.assert_allclose(
        found,
        [[61.5, 1.5, 0.25], [5.5, 29.5, 1], [(4 - 1 / 3 + 0.5) * 4 - 0.5, 13.5, 1], [1.5, 1.5, 0]],
        atol=1e-5,
    )


def test_flat_and_negative_maps_are_decoded_to_their_first_highest_cell():
    maps = np.full((1, 2, 9, 9), -3, np.float32)
    maps[0, 0, 4, 4] = -2
    maps[0, 1] = 0.7
    assert decode.joints(maps, 8)[0].tolist() == [[35.5, 35.5, -2], [3.5, 3.5, pytest.approx(0.7)]]


def test_peaks_are_brought_to_pixels():
    found = decode.decoder_for(Output("o", {}, "peaks", 4))(np.array([[[2, 0.25, 0.5]]], np.float32))
    assert found.tolist() == [[9.5, 2.5, 0.5]]


def test_depth_is_the_array_itself():
    array = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    assert decode.decoder_for(Output("o", {}, "depth", 4))(array).tolist() == array[0, 0].tolist()
