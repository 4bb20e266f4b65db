"""Networks for single images: every form of an image, results in its pixels, and the files that programs read."""

import json
import os
from fractions import Fraction

import numpy as np
import pytest

import fastnas.jetson
from fastnas.jetson import sidecar
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference import results
from fastnas.jetson.inference.decode import labels
from fastnas.jetson.inference.model import MOST_OPEN, load, nearest
from fastnas.jetson.inference.predictor import InferenceOptions, Predictor
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.system.opencv import import_cv2
from tests.helpers.jetson_toys import TASKS, toy_artifacts

cv2 = import_cv2()

ENGINE = EngineOptions("onnxruntime", threads=1)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)


@pytest.fixture
def image():
    """Red at the left, blue at the right, and noise: uint8 RGB."""
    pixels = np.random.RandomState(0).randint(0, 60, (60, 80, 3)).astype(np.uint8)
    pixels[:, :40, 0] += 180
    pixels[:, 40:, 2] += 180
    return pixels


def opened(toys, *kinds, **options):
    return load(*[toys[kind] for kind in kinds], engine="onnxruntime", threads=1, **options)


def test_an_array_is_rgb_and_a_path_and_a_pillow_image_give_the_same(toys, image, tmp_path):
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, image[..., ::-1])
    with opened(toys, "segmentation") as model:
        wanted = model(image).segmentation
        assert not np.array_equal(model(image[..., ::-1]).segmentation, wanted)
        np.testing.assert_array_equal(model(path).segmentation, wanted)
        np.testing.assert_array_equal(model(tmp_path / "image.png").segmentation, wanted)
        pillow = pytest.importorskip("PIL.Image")
        np.testing.assert_array_equal(model(pillow.fromarray(image)).segmentation, wanted)
        np.testing.assert_array_equal(model(pillow.open(path).convert("RGBA")).segmentation, wanted)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (np.zeros((4, 4, 3), np.float32), r"not float32 \[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), r"not uint8 \[4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"not uint8 \[0, 4, 3\]"),
        (7, "an image is a path"),
        ("absent.jpg", "cannot read absent.jpg as an image"),
    ],
    ids=str,
)
def test_what_is_no_image_is_said(toys, wrong, line):
    with opened(toys, "segmentation") as model, pytest.raises(JetsonError, match=line):
        model(wrong)


def test_class_ids_are_those_of_interpolated_logits(toys, image):
    """As evaluation computes them, at the network's input; then each pixel has its nearest."""
    size = (96, 128)
    with opened(toys, "segmentation", res=size) as model:
        result = model(image)
    with Predictor(
        {"segmentation": sidecar.load(toys["segmentation"])}, size, InferenceOptions(size=size, engine=ENGINE)
    ) as coarse:
        frame = np.ascontiguousarray(image[..., ::-1])
        few = coarse(frame).segmentation
        (network,) = coarse._networks
        fine = labels(network[1].engine.outputs["segmentation"], size)
    assert few is not None
    assert few.shape == (24, 32)
    assert result.segmentation.shape == (60, 80)
    np.testing.assert_array_equal(result.segmentation, nearest(fine, (60, 80)))
    assert not np.array_equal(result.segmentation, nearest(few, (60, 80)))
    assert result.depth is result.pose is None


@pytest.mark.parametrize(("size", "of"), [((3, 5), (6, 10)), ((6, 10), (3, 5)), ((7, 9), (4, 13)), ((4, 4), (4, 4))])
def test_each_pixel_takes_the_id_that_its_centre_lies_in(size, of):
    ids = np.arange(of[0] * of[1], dtype=np.uint8).reshape(of)
    found = nearest(ids, size)
    assert found.shape == size
    for y in range(size[0]):
        for x in range(size[1]):
            row, column = (int((2 * i + 1) * Fraction(m, 2 * n)) for i, n, m in zip((y, x), size, of))
            assert found[y, x] == ids[row, column]


def test_depth_is_of_the_images_size_and_joints_in_its_pixels(toys, image):
    with opened(toys, "depth", "pose") as model:
        assert sorted(model.tasks) == ["depth", "pose"]
        whole, box = model(image), model(image, box=(10, 20, 30, 30))
        again = model(image)
    assert (whole.depth.shape, whole.depth.dtype) == ((60, 80), np.float32)
    assert whole.pose.shape == (3, 3)
    np.testing.assert_array_equal(again.pose, whole.pose)  # nothing is tracked from image to image
    x, y = box.pose[:, 0], box.pose[:, 1]
    assert (x >= 10 - 5).all()  # the crop has a margin
    assert (x <= 40 + 5).all()
    assert (y >= 20 - 5).all()
    assert (y <= 50 + 5).all()
    assert not np.array_equal(box.pose, whole.pose)


def test_a_result_is_drawn_in_rgb(toys, image):
    with opened(toys, "segmentation") as model:
        result = model(image)
    drawn = result.draw(alpha=0)
    assert drawn.dtype == np.uint8
    assert abs(drawn[2, 20].astype(int) - image[2, 20]).max() <= 2
    np.testing.assert_array_equal(result.overlay(0)[..., ::-1], drawn)


def test_engines_of_few_sizes_stay_open(toys):
    lines = []
    with opened(toys, "segmentation", log=lines.append) as model:
        for _ in range(2):
            for width in range(64, 64 + 32 * MOST_OPEN, 32):
                model(np.zeros((512, width, 3), np.uint8))
        assert len(lines) == len(model._open) == MOST_OPEN
        model(np.zeros((64, 512, 3), np.uint8))
        assert len(model._open) == 1
    assert not model._open


def test_two_networks_of_one_task_are_refused(toys):
    with pytest.raises(JetsonError, match="both for depth"):
        opened(toys, "depth", "depth")


def test_the_package_itself_loads(toys, image):
    with fastnas.jetson.load(toys["segmentation"], engine="onnxruntime") as model:
        np.testing.assert_array_less(model(image).segmentation, 3)


def test_saved_files_hold_the_results(toys, image, tmp_path):
    with opened(toys, *TASKS) as model:
        result = model(image)
    # The toy segments no people.
    paths = result.save(tmp_path, "a/lake")
    assert [os.path.relpath(path, str(tmp_path)) for path in paths] == [
        "masks/a/lake.png", "depth/a/lake.png", "overlays/a/lake.jpg", "joints/a/lake.json",
    ]  # fmt: skip
    colours = np.array(TASKS["segmentation"]["colours"], np.uint8)
    np.testing.assert_array_equal(cv2.imread(paths[0])[..., ::-1], colours[result.segmentation])
    depth = cv2.imread(paths[1], cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    np.testing.assert_array_equal(depth, np.where(result.depth > 0, np.clip(np.rint(result.depth * 1000), 1, 65535), 0))
    assert cv2.imread(paths[2]).shape[1] >= 80
    with open(paths[3]) as file:
        joints = json.load(file)
    assert joints["images"] == [{"id": 1, "file_name": "a/lake", "width": 80, "height": 60}]
    assert len(result.save(tmp_path, "b", overlay=False)) == 3


def test_a_palette_png_holds_ids(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    ids = np.random.RandomState(0).randint(0, 256, (37, 41)).astype(np.uint8)
    results.write_ids(str(tmp_path / "ids.png"), ids, [(1, 2, 3), (250, 0, 9)])
    with pillow.open(str(tmp_path / "ids.png")) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), ids)
        assert image.getpalette()[:6] == [1, 2, 3, 250, 0, 9]


def test_depth_in_millimetres_is_clipped_and_marks_what_is_unknown(tmp_path):
    metres = np.array([[0.0004, 1.2344, 70.0], [np.nan, 0, -3]], np.float32)
    results.write_depth(str(tmp_path / "depth.png"), metres)
    found = cv2.imread(str(tmp_path / "depth.png"), cv2.IMREAD_UNCHANGED)
    assert found.tolist() == [[1, 1234, 65535], [0, 0, 0]]


def test_joints_are_coco_annotations():
    seen = np.array([[10, 20, 0.9], [30.256, 60, 0.5], [5, 5, 0.05]], np.float32)
    nobody = np.zeros((0, 3), np.float32)
    people = [results.Person("a.jpg", (100, 200), seen), results.Person("b.jpg", (50, 60), nobody)]
    found = results.coco(people, TASKS["pose"])
    assert [image["file_name"] for image in found["images"]] == ["a.jpg", "b.jpg"]
    (category,) = found["categories"]
    assert category["keypoints"] == ["head", "left", "right"]
    assert category["skeleton"] == [[1, 2], [1, 3]]
    (person,) = found["annotations"]
    assert (person["image_id"], person["num_keypoints"]) == (1, 2)
    assert person["keypoints"] == [10, 20, 2, 30.26, 60, 2, 0, 0, 0]
    assert person["bbox"] == [10, 20, 20.26, 40]
    assert person["score"] == pytest.approx(0.7)
    assert person["scores"] == pytest.approx([0.9, 0.5, 0.05])
    json.dumps(found)


def test_pycocotools_reads_them(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    seen = np.array([[10, 20, 0.9], [30, 60, 0.5], [5, 5, 0.05]], np.float32)
    path = tmp_path / "joints.json"
    path.write_text(json.dumps(results.coco([results.Person("a.jpg", (100, 200), seen)], TASKS["pose"])))
    read = coco.COCO(str(path))
    assert read.anns[1]["keypoints"][:3] == [10.0, 20.0, 2]
