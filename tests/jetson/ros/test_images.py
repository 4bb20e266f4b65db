"""Images and joints as fields of ROS messages: every encoding, padded rows, both byte orders, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.ros.images import ENCODINGS, cloud_fields, image_fields, to_frame

BLUE, GREEN, RED = 10, 20, 30


def message(data, encoding="bgr8", height=1, width=1, step=None, is_bigendian=0):
    data = bytes(data)
    return SimpleNamespace(
        data=data,
        encoding=encoding,
        height=height,
        width=width,
        step=len(data) // max(height, 1) if step is None else step,
        is_bigendian=is_bigendian,
    )


@pytest.mark.parametrize(
    ("encoding", "pixel", "wanted"),
    [
        ("bgr8", (BLUE, GREEN, RED), (BLUE, GREEN, RED)),
        ("rgb8", (RED, GREEN, BLUE), (BLUE, GREEN, RED)),
        ("bgra8", (BLUE, GREEN, RED, 40), (BLUE, GREEN, RED)),
        ("rgba8", (RED, GREEN, BLUE, 40), (BLUE, GREEN, RED)),
        ("mono8", (50,), (50, 50, 50)),
        ("mono16", (7, 50), (50, 50, 50)),
    ],
)
def test_a_pixel_of_every_encoding(encoding, pixel, wanted):
    np.testing.assert_array_equal(to_frame(message(pixel, encoding)), [[wanted]])


def test_every_encoding_is_tried_above():
    marks = test_a_pixel_of_every_encoding.pytestmark[0].args[1]
    assert {case[0] for case in marks} == set(ENCODINGS)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
@pytest.mark.parametrize("padding", [0, 1, 5])
def test_rows_may_be_longer_than_their_pixels(encoding, padding):
    """The padding is of another value in each row, so that a shifted row would be seen."""
    spec = ENCODINGS[encoding]
    rows = np.random.RandomState(0).randint(0, 256, (4, 3 * spec.channels * spec.size)).astype(np.uint8)
    whole = to_frame(message(rows.tobytes(), encoding, 4, 3))
    padded = np.concatenate([rows, np.repeat(np.arange(4, dtype=np.uint8)[:, None], padding, 1)], 1)
    np.testing.assert_array_equal(to_frame(message(padded.tobytes(), encoding, 4, 3)), whole)
    assert whole.shape == (4, 3, 3)
    assert whole.dtype == np.uint8


def test_the_byte_order_of_16_bits_is_the_message_s():
    np.testing.assert_array_equal(to_frame(message((50, 7), "mono16", is_bigendian=1)), [[[50, 50, 50]]])
    np.testing.assert_array_equal(to_frame(message((50, 7), "mono16", is_bigendian=0)), [[[7, 7, 7]]])


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"encoding": "bayer_rggb8"}, "encoding 'bayer_rggb8' are not taken, but rgb8, bgr8, "),
        ({"encoding": "x" * 10**6}, "encoding 'x{39} are"),
        ({"height": 0, "data": b""}, "0x2 .height x width.; a side has 1 to 16384 pixels"),
        ({"width": 0}, "2x0 "),
        ({"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1}, "4294967295x4294967295 "),
        ({"width": 16385}, "2x16385 "),
        ({"step": 5}, "rows of 6 bytes or more; this one has a step of 5 and 12 bytes in all"),
        ({"step": 2**32 - 1}, "a step of 4294967295 and 12 bytes in all"),
        ({"data": bytes(11)}, "a step of 6 and 11 bytes"),
        ({"data": bytes(13)}, "a step of 6 and 13 bytes"),
        ({"data": b""}, "a step of 6 and 0 bytes"),
        ({"encoding": "mono16", "width": 7}, "2x7 in mono16 has rows of 14 bytes or more"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, line):
    fields = dict({"data": bytes(12), "height": 2, "width": 2, "step": 6}, **wrong)
    with pytest.raises(JetsonError, match=line):
        to_frame(message(**fields))


@pytest.mark.parametrize(
    ("array", "encoding", "step", "data"),
    [
        (np.array([[1, 2, 3], [4, 5, 6]], np.uint8), "mono8", 3, bytes([1, 2, 3, 4, 5, 6])),
        (np.array([[[1, 2, 3]], [[4, 5, 6]]], np.uint8)[..., ::-1], "bgr8", 3, bytes([3, 2, 1, 6, 5, 4])),
        (np.array([[258]], np.uint16), "16UC1", 2, bytes([2, 1])),
        (np.array([[258]], ">u2"), "16UC1", 2, bytes([2, 1])),
        (np.array([[1.5, 2.5]], np.float32), "32FC1", 8, np.array([1.5, 2.5], "<f4").tobytes()),
    ],
)
def test_arrays_become_fields_least_byte_first(array, encoding, step, data):
    fields = image_fields(array, encoding)
    assert (fields["height"], fields["width"]) == array.shape[:2]
    assert (fields["encoding"], fields["is_bigendian"], fields["step"]) == (encoding, 0, step)
    assert fields["data"] == data


def test_joints_become_points_with_a_score():
    joints = np.array([[1, 2, 0.5], [3, 4, 0.25]], np.float32)
    fields = cloud_fields(joints)
    assert (fields["height"], fields["width"], fields["point_step"], fields["row_step"]) == (1, 2, 12, 24)
    dtype = np.dtype([(field["name"], "<f4") for field in fields["fields"]])
    assert [field["offset"] for field in fields["fields"]] == [0, 4, 8]
    points = np.frombuffer(fields["data"], dtype)
    assert [tuple(point) for point in points] == [(1, 2, 0.5), (3, 4, 0.25)]


def test_nobody_is_a_cloud_of_no_point():
    fields = cloud_fields(np.zeros((0, 3), np.float32))
    assert (fields["width"], fields["row_step"], fields["data"]) == (0, 0, b"")
