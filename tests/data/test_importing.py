"""Exports of labelling tools become datasets with the masks that were drawn; a fault is one line with the file."""

from __future__ import annotations

import copy
import json
import os
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fastnas.cli import main
from fastnas.data import open_dataset
from fastnas.data.importing import FORMATS
from fastnas.data.importing.convert import Summary, import_dataset
from fastnas.data.importing.formats.masks import guess_classes
from fastnas.data.importing.layout import OutputNames
from fastnas.data.importing.near_duplicates import Frame, choose_validation, difference_hash, group_frames
from fastnas.data.shapes import Bitmap, Outline, Runs, Shape
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import FILE_NAME, load_model
from fastnas.tasks import Pose, Segmentation
from tests.helpers import exports
from tests.helpers.exports import CLASSES, NAMES, TRAIN, VAL, H, W, dump, photo, save, text


def samples(root: Path, split: str = "train") -> list[Any]:
    dataset = open_dataset("folder", root, split=split)
    return [dataset[index] for index in range(len(dataset))]


def task(root: Path) -> Segmentation:
    found = open_dataset("folder", root).task
    assert isinstance(found, Segmentation)
    return found


def masks(root: Path, split: str = "train") -> dict[str, np.ndarray]:
    """The mask of every sample by the last part of its name."""
    return {sample["name"].rpartition("/")[2]: sample["mask"].numpy() for sample in samples(root, split)}


def all_masks(root: Path, summary: Summary) -> dict[str, np.ndarray]:
    return {name: mask for split in summary.images for name, mask in masks(root, split).items()}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# What each tool writes


@pytest.mark.parametrize("name", exports.MAKE)
def test_an_export_becomes_the_masks_that_were_drawn(name: str, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    exports.MAKE[name](source)
    before = contents(source)
    summary = import_dataset(source, out)
    found = {key.partition("_jpg")[0]: mask for key, mask in all_masks(out, summary).items()}
    assert found.keys() == set(NAMES)
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, exports.ids(key) * (7 if name == "voc" else 1), key)
    assert summary.dropped == []
    assert contents(source) == before
    with Image.open(out / "preview.png") as preview:
        assert preview.width > 1000
    if name not in ("labelme", "cvat", "supervisely", "masks"):  # they have no splits
        assert {key.partition("_jpg")[0] for key in masks(out)} == set(TRAIN)
        assert {key.partition("_jpg")[0] for key in masks(out, "val")} == set(VAL)
    classes = task(out).classes
    if name == "voc":
        assert (classes[7], classes[14], len(classes)) == ("car", "motorbike", 21)
    elif name == "masks":
        assert classes == ("class-0", "class-1", "class-2")
    else:
        assert classes == ("background", *CLASSES)


@pytest.mark.parametrize("name", ["cvat", "supervisely"])
def test_colours_of_the_tool_are_kept(name: str, tmp_path: Path) -> None:
    exports.MAKE[name](tmp_path / "source")
    import_dataset(tmp_path / "source", tmp_path / "out")
    assert task(tmp_path / "out").colours == ((0, 0, 0), *exports.COLOURS)


@pytest.mark.parametrize("table", ["lines", "labelmap"])
def test_masks_in_colours_are_read_by_a_table(table: str, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    exports.make_colours(source)
    colours = exports.colour_table(tmp_path / "colours.txt")
    if table == "labelmap":
        exports.make_cvat(tmp_path / "cvat")
        colours = tmp_path / "cvat/labelmap.txt"
    summary = import_dataset(source, out, colours=colours)
    for name, mask in all_masks(out, summary).items():
        np.testing.assert_array_equal(mask, exports.ids(name))
    with pytest.raises(FastnasError, match=r"mask lake_mask.png is coloured \(0,0,0; 50,183,250; 250,50,83\)"):
        import_dataset(source, tmp_path / "other")


def test_keypoints_become_people(tmp_path: Path) -> None:
    exports.make_keypoints(tmp_path / "source")
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert (summary.dataset, summary.images, summary.dropped) == ("keypoints", {"train": 4, "val": 1}, [])
    dataset = open_dataset("keypoints", tmp_path / "out", split="val")
    assert isinstance(dataset.task, Pose)
    assert dataset.task.joints == exports.JOINTS
    assert dataset.task.skeleton == ((0, 1), (0, 2))
    assert dataset.task.mirror == (0, 2, 1)
    sample = dataset[0]
    x, y, x1, y1 = exports.boxes(sample["name"].partition("-")[0])[0]
    assert sample["keypoints"].tolist()[:2] == [[x + 10, y], [x, y + 8]]
    assert sample["visible"].tolist() == [True, True, False]
    assert sample["box"].tolist() == [[x, y, x1, y1]]


def test_a_supervisely_polygon_has_its_corners_and_its_hole() -> None:
    outline = Outline([[[1, 1], [8, 1], [8, 6], [1, 6]]], [[[3, 3], [5, 3], [5, 4], [3, 4]]], of_pixels=True)
    expected = np.zeros((10, 12), dtype=bool)
    expected[1:7, 1:9] = True
    expected[3:5, 3:6] = False
    np.testing.assert_array_equal(whole(outline, (12, 10)), expected)


def whole(shape: Shape, size: tuple[int, int]) -> np.ndarray:
    """A shape as a mask of the whole image."""
    left, top, pixels = shape.mask(size, size)
    mask = np.zeros(size[::-1], dtype=bool)
    mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return mask


def test_polygons_are_drawn_as_pycocotools_draws_them() -> None:
    from pycocotools import mask as coco_mask

    random_numbers = np.random.default_rng(0)
    for _ in range(200):
        points = random_numbers.uniform(-10, 60, random_numbers.integers(3, 9) * 2).round(2).tolist()
        expected = coco_mask.decode(coco_mask.frPyObjects([points], 36, 50))[..., 0]
        np.testing.assert_array_equal(whole(Outline([points]), (50, 36)), expected)


def test_a_labelme_circle_and_mask_are_drawn(tmp_path: Path) -> None:
    drawn = np.zeros((5, 4), dtype=np.uint8)
    drawn[1:, 2:] = 1
    shapes = [
        {"label": "car", "points": [[20, 16], [30, 16]], "shape_type": "circle"},
        {"label": "tree", "points": [[2, 3], [5, 7]], "shape_type": "mask", "mask": exports.bitmap(drawn)},
    ]
    for name in NAMES:
        save(photo(name), tmp_path / f"source/{name}.jpg")
        dump(exports.labelme(name, shapes=shapes), tmp_path / f"source/{name}.json")
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    mask = all_masks(tmp_path / "out", summary)["lake"]
    assert (mask == 1).sum() == pytest.approx(np.pi * 100, rel=0.02)
    np.testing.assert_array_equal(mask[3:8, 2:6] == 2, drawn.astype(bool))


def test_crowds_are_ignored_and_small_objects_lie_over_large_ones(tmp_path: Path) -> None:
    exports.make_coco(tmp_path / "source")
    path = tmp_path / "source/annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    crowd = np.zeros((H, W), dtype=np.uint8)
    crowd[:, :2] = 1
    content["annotations"].reverse()
    content["annotations"].append(
        {"id": 99, "image_id": 1, "category_id": 1, "iscrowd": 1,
         "segmentation": {"size": [H, W], "counts": exports.runs(crowd)}}
    )  # fmt: skip
    dump(content, path)
    import_dataset(tmp_path / "source", tmp_path / "out")
    found = masks(tmp_path / "out")["lake"]
    expected = exports.ids("lake")
    expected[:, :2] = 255
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("stored", "names", "expected", "meaning"),
    [
        ({0, 1, 2, 255}, [], ["class-0", "class-1", "class-2"], {0: 0, 1: 1, 2: 2, 255: 255}),
        ({0, 255}, [], ["background", "object"], {0: 0, 255: 1}),
        ({0, 1}, [], ["background", "object"], {0: 0, 1: 1, 255: 255}),
        ({0, 85, 170, 255}, [], ["class-0", "class-1", "class-2", "class-3"], {0: 0, 85: 1, 170: 2, 255: 3}),
        ({0, 2}, ["sky", "car", "tree"], ["sky", "car", "tree"], {0: 0, 1: 1, 2: 2, 255: 255}),
        ({0, 255}, ["sky", "car"], ["sky", "car"], {0: 0, 255: 1}),
    ],
)
def test_class_ids_are_guessed(stored: set[int], names: list[str], expected: list[str], meaning: dict) -> None:
    assert guess_classes(stored, names) == (expected, meaning)


# Which format, which split


def test_two_formats_in_one_folder_ask_for_one(tmp_path: Path) -> None:
    exports.make_yolo(tmp_path / "source")
    dump(exports.labelme("lake"), tmp_path / "source/lake.json")
    with pytest.raises(FastnasError, match=r"--format yolo\) and LabelMe JSON \(--format labelme\): say which"):
        import_dataset(tmp_path / "source", tmp_path / "out")
    assert import_dataset(tmp_path / "source", tmp_path / "out", "yolo").format == "YOLO segmentation text"


def test_a_folder_without_labels_names_the_formats(tmp_path: Path) -> None:
    save(photo("lake"), tmp_path / "source/lake.jpg")
    text("<annotations/>", tmp_path / "source/annotations.xml")
    with pytest.raises(FastnasError, match=r"1 images, and labels in no format that is known.*for CVAT's XML, export"):
        import_dataset(tmp_path / "source", tmp_path / "out")
    with pytest.raises(FastnasError, match=r"gone.zip is not a folder.*unpack the archive first"):
        import_dataset(tmp_path / "gone.zip", tmp_path / "out")


def test_the_split_depends_on_the_seed_alone(tmp_path: Path) -> None:
    exports.make_labelme(tmp_path / "source")
    lists = []
    for number, seed in enumerate((0, 0, 1, 2, 3)):
        import_dataset(tmp_path / "source", tmp_path / str(number), val_share=0.4, seed=seed)
        lists.append((tmp_path / f"{number}/val.txt").read_text())
        assert len(lists[-1].splitlines()) == 2
    assert lists[0] == lists[1]
    assert len(set(lists)) > 1


def video(root: Path, videos: int, frames: int) -> None:
    """Frames that pan slowly, in masks of one rectangle."""
    for number in range(videos):
        scene = photo(NAMES[number], (4 * W, H))
        for frame in range(frames):
            name = f"{NAMES[number]}_{frame}"
            save(scene.crop((2 * frame, 0, 2 * frame + W, H)), root / f"images/{name}.png")
            save(Image.fromarray(exports.ids("lake")), root / f"masks/{name}.png")


def test_the_frames_of_a_video_are_on_one_side(tmp_path: Path) -> None:
    video(tmp_path / "source", videos=5, frames=12)
    import_dataset(tmp_path / "source", tmp_path / "out")
    sides = [{name.partition("_")[0] for name in masks(tmp_path / "out", split)} for split in ("train", "val")]
    assert sides[0] & sides[1] == set()
    assert len(sides[1]) == 1


def test_a_single_video_is_cut_at_its_end(tmp_path: Path) -> None:
    video(tmp_path / "source", videos=1, frames=12)
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert masks(tmp_path / "out", "val").keys() == {"lake_10", "lake_11"}
    assert any("frames of one video" in note for note in summary.notes)


def test_copies_are_on_one_side() -> None:
    frames = [Frame(f"{i}/x", str(i % 3).encode(), 0) for i in range(6)]
    assert group_frames(frames) == [[0, 3], [1, 4], [2, 5]]
    frames = [Frame(f"cat_jpg.rf.{i:032x}", str(i).encode(), i << 40) for i in range(3)]
    assert group_frames(frames) == [[0, 1, 2]]
    alike = [Frame(f"a{i}", str(i).encode(), 0) for i in (8, 9, 10)]
    other = [Frame("a11", b"11", (1 << 17) - 1), Frame("b12", b"b12", (1 << 17) - 1)]
    assert group_frames(alike + other) == [[0, 1, 2], [3], [4]]
    assert choose_validation([[0], [1], [2, 3, 4]], 0.2, seed=0) in [({0}, False), ({1}, False)]
    assert difference_hash(photo("lake")) != difference_hash(photo("zoo"))


def test_source_splits_without_train_are_made_anew(tmp_path: Path) -> None:
    exports.make_yolo(tmp_path / "all")
    (tmp_path / "source").mkdir()
    (tmp_path / "all/train").rename(tmp_path / "source/test")
    text("names: [car, road]\n", tmp_path / "source/data.yaml")
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert summary.images == {"train": 2, "val": 1}
    assert any("no training split, only test" in note for note in summary.notes)


# Images


def test_photos_are_upright_with_labels_as_shown(tmp_path: Path) -> None:
    exports.make_coco(tmp_path / "source")
    path = tmp_path / "source/train2017/lake.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    save(photo("lake").transpose(Image.Transpose.ROTATE_90), path, exif=exif, quality=95)
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert summary.rotated == 1
    sample = next(s for s in samples(tmp_path / "out") if s["name"].endswith("lake"))
    np.testing.assert_array_equal(sample["mask"].numpy(), exports.ids("lake"))
    shown = sample["image"].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(shown - np.asarray(photo("lake")).astype(int)).mean() < 6
    with Image.open(tmp_path / "out/images/train2017/lake.jpg") as written:
        assert written.getexif().get(0x0112, 1) == 1


def test_labels_of_the_stored_frame_are_refused(tmp_path: Path) -> None:
    exports.make_coco(tmp_path / "source")
    exif = Image.Exif()
    exif[0x0112] = 8
    save(photo("lake"), tmp_path / "source/train2017/lake.jpg", exif=exif)
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert summary.dropped == [
        "train2017/lake.jpg: it was labelled as 40x32, but the image is 32x40, as a camera shows it"
    ]


def modes() -> dict[str, tuple[Image.Image, int]]:
    """An image of every mode with the grey level that it must become."""
    grey = Image.new("L", (W, H), 100)
    return {
        "I;16": (Image.fromarray(np.full((H, W), 250 * 257, dtype=np.uint16)), 250),
        "I": (Image.fromarray(np.full((H, W), 250 * 257, dtype=np.int32)), 250),
        "F": (Image.fromarray(np.full((H, W), 100 / 255, dtype=np.float32)), 100),
        "1": (grey.point(lambda _: 255, "1"), 255),
        "L": (grey, 100),
        "LA": (grey.convert("LA"), 100),
        "P": (grey.convert("P"), 100),
        "RGBA": (grey.convert("RGBA"), 100),
        "CMYK": (Image.new("CMYK", (W, H), (0, 0, 0, 155)), 100),
    }


@pytest.mark.parametrize("mode", modes())
def test_images_of_every_mode_get_their_values(mode: str, tmp_path: Path) -> None:
    exports.make_masks(tmp_path / "source")
    (tmp_path / "source/images/lake.jpg").unlink()
    image, level = modes()[mode]
    save(image, tmp_path / f"source/images/lake.{'png' if mode in ('1', 'L', 'LA', 'P', 'RGBA', 'I;16') else 'tif'}")
    import_dataset(tmp_path / "source", tmp_path / "out")
    with Image.open(tmp_path / "out/images/lake.png") as written:
        assert written.mode == "RGB"
        assert written.getextrema() == ((level, level),) * 3


def test_floats_of_unknown_range_are_refused(tmp_path: Path) -> None:
    exports.make_masks(tmp_path / "source")
    (tmp_path / "source/images/lake.jpg").unlink()
    save(Image.fromarray(np.full((H, W), 700, dtype=np.float32)), tmp_path / "source/images/lake.tif")
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert (
        "lake.tif: it has values from 700 to 700: an image of mode F must lie within 0 and 1, or 0 and 255"
        in summary.dropped[0]
    )


def test_images_and_labels_without_each_other_are_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    exports.make_yolo(source)
    (source / "train/labels/lake.txt").unlink()
    (source / "train/images/park.jpg").unlink()
    save(photo("lake"), source / "train/images/._street.jpg")
    text("", source / "train/images/Thumbs.db")
    text("", source / ".DS_Store")
    content = (source / "valid/images/zoo.jpg").read_bytes()
    (source / "valid/images/zoo.jpg").write_bytes(content[: len(content) // 2])
    summary = import_dataset(source, tmp_path / "out")
    assert summary.images == {"train": 1, "val": 1}
    assert summary.dropped[0] == "train/labels/park.txt: its image is missing"
    assert summary.dropped[1] == "train/images/lake.jpg: it has no labels"
    assert summary.dropped[2].startswith("valid/images/zoo.jpg: it is not an image, or is damaged: ")
    assert len(summary.dropped) == 3


# Names


def test_names_stay_inside_and_are_unique(tmp_path: Path) -> None:
    names = OutputNames(["a/b/x.jpg", "a/c/x.jpg"])
    assert [names.new(name) for name in ("a/b/x.jpg", "a/c/x.jpg", "a/b/X.png", "a/b/x.bmp")] == [
        "b/x", "c/x", "b/X-2", "b/x-3"
    ]  # fmt: skip
    assert OutputNames(["a.jpg"]).new("..\t../.hid\nden/né [1].jpg") == "_/hid_den/né [1]"


def test_file_names_may_hold_any_bytes(tmp_path: Path) -> None:
    exports.make_masks(tmp_path / "source")
    for name in (b"caf\xe9", b"a\nb\tc", b"\x1b[31mred", "né\u2028".encode(), b"[b] x"):
        for folder, kind in ((b"images", b"jpg"), (b"masks", b"png")):
            original = tmp_path / "source" / folder.decode() / f"lake.{kind.decode()}"
            Path(os.fsdecode(os.fsencode(original.parent) + b"/" + name + b"." + kind)).write_bytes(
                original.read_bytes()
            )
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/source/images/\xffno.jpg")).write_bytes(b"")
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["data", "import", str(tmp_path / "source"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "left out: images/\\udcffno.jpg: it has no labels" in result.output
    found = masks(out) | masks(out, "val")
    assert found.keys() == {*NAMES, "caf_", "a_b_c", "_[31mred", "né_", "[b] x"}
    for found_name in found.keys() - set(NAMES):
        np.testing.assert_array_equal(found[found_name], exports.ids("lake"))


def test_a_label_cannot_write_outside(tmp_path: Path) -> None:
    exports.make_coco(tmp_path / "source")
    save(photo("lake"), tmp_path / "secret.jpg")
    path = tmp_path / "source/annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "../../secret.jpg"
    content["images"][1]["file_name"] = "C:\\photos\\park.jpg"
    dump(content, path)
    before = contents(tmp_path / "source")
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert (
        summary.dropped[0]
        == "annotations/instances_train2017.json: ../../secret.jpg: image ../../secret.jpg is missing"
    )
    assert masks(tmp_path / "out").keys() == {"park", "street"}
    assert contents(tmp_path / "source") == before
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out", "secret.jpg"}


def test_two_images_of_one_name_are_both_written(tmp_path: Path) -> None:
    exports.make_labelme(tmp_path / "source")
    save(photo("park"), tmp_path / "source/lake.png")
    dump(exports.labelme("park", imagePath="lake.png"), tmp_path / "source/lake_png.json")
    (tmp_path / "source/park.jpg").unlink()
    (tmp_path / "source/park.json").unlink()
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    found = all_masks(tmp_path / "out", summary)
    np.testing.assert_array_equal(found["lake"], exports.ids("lake"))
    np.testing.assert_array_equal(found["lake-2"], exports.ids("park"))


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    for name, endings in {"yolo": (".txt", ".yaml"), "coco": (".json",), "roboflow": (".csv",)}.items():
        source, out = tmp_path / name, tmp_path / f"{name}-out"
        exports.MAKE[name](source)
        for path in source.rglob("*"):
            if path.suffix in endings:
                path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        summary = import_dataset(source, out)
        assert (len(all_masks(out, summary)), summary.dropped) == (5, [])


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ("[car, car]", "two classes or joints named 'car'"),
        ("[car, 'car ']", "two classes or joints named 'car'"),
        ("[car, '']", "'' is no name"),
        ("[car, [x]]", r"\['x'\] is no name"),
        ('[car, "a\\nb"]', "is no name"),
        ('[car, "\\ud800"]', "is no name|cannot be read as YAML"),
        ("{0: car, 2: tree}", "numbered from 0 to 1"),
        ("[background]", "no class that could be learnt"),
        (str([f"c{i}" for i in range(300)]), "301 classes: at most 254"),
        ("[" * 5000, "cannot be read as YAML"),
    ],
)
def test_impossible_class_names_are_refused(names: str, fault: str, tmp_path: Path) -> None:
    exports.make_yolo(tmp_path / "source")
    text(f"names: {names}\n", tmp_path / "source/data.yaml")
    with pytest.raises(FastnasError, match=rf"data\.yaml.*(?:{fault})"):
        import_dataset(tmp_path / "source", tmp_path / "out")


def test_class_names_are_no_markup(tmp_path: Path) -> None:
    exports.make_yolo(tmp_path / "source")
    text('names: ["[/red]", "[bold]x"]\n', tmp_path / "source/data.yaml")
    (tmp_path / "source/train/images/lake.jpg").rename(tmp_path / "source/train/images/[park].jpg")
    result = CliRunner().invoke(main, ["data", "import", str(tmp_path / "source"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "[/red]" in result.output
    assert "[bold]x" in result.output
    assert "left out: train/images/[park].jpg: it has no labels" in result.output


# Damaged labels: the image is left out, never labelled wrongly


def coco_fault(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> str:
    """What an import says of a COCO file whose first image, lake, is changed; the others are imported."""
    exports.make_coco(tmp_path / "source")
    path = tmp_path / "source/annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    dump(content, path)
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert masks(tmp_path / "out").keys() == {"park", "street"}
    assert len(summary.dropped) == 1
    assert "lake" in summary.dropped[0]
    return summary.dropped[0]


def runs_of(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["annotations"][1]["segmentation"]
    return found


SHAPE_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "truncated RLE": (lambda c: runs_of(c).update(counts=runs_of(c)["counts"][:-3]), "truncated"),
    "RLE cut in a number": (lambda c: runs_of(c).update(counts="P"), "ends within a number"),
    "RLE of other characters": (lambda c: runs_of(c).update(counts="~~~"), "not of COCO's form"),
    "RLE of another size": (lambda c: runs_of(c).update(size=[W, H]), "are for an image of 32x40, but it is 40x32"),
    "RLE without size": (lambda c: runs_of(c).pop("size"), "are for an image of None"),
    "RLE of short counts": (lambda c: runs_of(c).update(counts=[5, 7]), "they cover 12 of 1280 pixels"),
    "RLE of negative counts": (lambda c: runs_of(c).update(counts=[-5, 1285]), "whole numbers from 0"),
    "RLE of huge counts": (lambda c: runs_of(c).update(counts=[2**70]), "whole numbers from 0"),
    "RLE of floats": (lambda c: runs_of(c).update(counts=[0.5] * 2560), "whole numbers from 0"),
    "odd polygon": (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "odd number"),
    "NaN": (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, float("nan"), 5, 6]]), "NaN or infinite"),
    "infinite": (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, float("inf"), 5, 6]]), "NaN or infinite"),
    "huge": (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 1e12, 5, 6]]), "far out of the image"),
    "huge integer": (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 10**400, 5, 6]]), "list of points"),
    "text": (lambda c: c["annotations"][0].update(segmentation=[["1", "2", "3", "4", "5", "6"]]), "list of points"),
    "long": (lambda c: c["annotations"][0].update(segmentation=[[0, 0, 40, 32] * 20000]), "longer than 1,000,000"),
    "box": (lambda c: c["annotations"][0].update(segmentation=[]), "a box but no outline"),
    "category": (lambda c: c["annotations"][0].update(category_id=-1), "category -1, which is not listed"),
    "category list": (lambda c: c["annotations"][0].update(category_id=[1]), "which is not listed"),
    "size": (lambda c: c["images"][0].update(width=41), "labelled as 41x32, but the image is 40x32"),
    "no size": (lambda c: c["images"][0].update(width="x"), "two whole numbers above 0"),
    "id twice": (lambda c: c["images"].append({**c["images"][0], "file_name": "lake2.jpg"}), "listed twice|missing"),
}


@pytest.mark.parametrize("fault", [name for name in SHAPE_FAULTS if name != "id twice"])
def test_a_damaged_coco_object_leaves_its_image_out(fault: str, tmp_path: Path) -> None:
    change, line = SHAPE_FAULTS[fault]
    assert line in coco_fault(change, tmp_path)


def test_an_image_listed_twice_is_left_out(tmp_path: Path) -> None:
    exports.make_coco(tmp_path / "source")
    path = tmp_path / "source/annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "id": 77})
    content["annotations"].append({**content["annotations"][0], "image_id": 99})
    dump(content, path)
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert masks(tmp_path / "out").keys() == {"park", "street"}
    assert "1 objects of image 99, which is not listed" in summary.dropped[0]
    assert all("lake.jpg: it" in line and "listed twice" in line for line in summary.dropped[1:])


def test_an_image_in_two_files_is_taken_from_the_first(tmp_path: Path) -> None:
    exports.make_coco(tmp_path / "source")
    dump(exports.coco(("zoo",)), tmp_path / "source/train2017/more.json")
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert summary.images == {"train": 3, "val": 2}
    assert summary.dropped == [
        "train2017/more.json: zoo.jpg: its labels are in another file too, or it is listed twice"
    ]


def test_polygons_without_area_are_left_out_and_named(tmp_path: Path) -> None:
    exports.make_coco(tmp_path / "source")
    path = tmp_path / "source/annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    for segmentation in ([[3, 3]], [[3, 3, 9, 9]], [[-9, -9, -5, -9, -5, -5]], [[]]):
        content["annotations"].append({"id": 50, "image_id": 1, "category_id": 1, "segmentation": segmentation})
    dump(content, path)
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    np.testing.assert_array_equal(masks(tmp_path / "out")["lake"], exports.ids("lake"))
    assert summary.notes == [
        "train2017/lake.jpg: 4 of 6 objects cover no pixel (too few points, or outside of the image)"
    ]


def test_polygons_are_scaled_to_an_image_of_the_same_aspect(tmp_path: Path) -> None:
    exports.make_labelme(tmp_path / "source")
    save(photo("lake", (2 * W, 2 * H)), tmp_path / "source/lake.jpg")
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    expected = exports.ids("lake").repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(all_masks(tmp_path / "out", summary)["lake"], expected)
    assert "lake.jpg: labels scaled from 40x32 to 80x64" in summary.notes


def test_joints_are_scaled_to_an_image_of_the_same_aspect(tmp_path: Path) -> None:
    exports.make_keypoints(tmp_path / "source")
    for name in NAMES:
        save(photo(name, (2 * W, 2 * H)), tmp_path / f"source/images/default/{name}.jpg")
    import_dataset(tmp_path / "source", tmp_path / "out")
    sample = open_dataset("keypoints", tmp_path / "out", split="val")[0]
    x, y, x1, y1 = exports.boxes(sample["name"].partition("-")[0])[0]
    assert sample["keypoints"].tolist()[0] == [2 * (x + 10), 2 * y]
    assert sample["box"].tolist() == [[2 * x, 2 * y, 2 * x1, 2 * y1]]
    assert sample["area"] == 1200


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("2 0 0 1 0 1 1", "class 2 is out of range, 0 to 1"),
        ("-1 0 0 1 0 1 1", "class -1 is out of range"),
        ("x 0 0 1 0 1 1", "invalid literal"),
        ("0 0 0 1 0 1 nan", "NaN or infinite"),
        ("0 0 0 1 0 1 1e300", "far out of the image"),
        ("0 0 0 1 0 1", "odd number of coordinates, 5"),
        ("0 0.5 0.5 0.2 0.2", "a box instead of a polygon"),
        ("0 0 0 1 0 1 one", "could not convert"),
    ],
)
def test_a_damaged_yolo_line_leaves_its_image_out(line: str, fault: str, tmp_path: Path) -> None:
    exports.make_yolo(tmp_path / "source")
    text(f"{line}\n", tmp_path / "source/train/labels/lake.txt")
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert masks(tmp_path / "out").keys() == {"park", "street"}
    assert summary.dropped[0].startswith("train/images/lake.jpg: ")
    assert fault in summary.dropped[0] or fault.replace(", 5", "") in summary.dropped[0]


@pytest.mark.parametrize(
    ("name", "mask", "fault"),
    [
        ("masks", Image.new("L", (H, W)), "its mask is 32x40, but the image is 40x32"),
        ("roboflow", Image.new("L", (W, H), 3), "numbers that are no class: 3 (known are 0, 1, 2)"),
        ("cvat", Image.new("RGB", (W, H), (1, 2, 3)), "1280 pixels of colours that are no class, such as 1,2,3"),
        ("voc", Image.new("RGB", (W, H), (1, 2, 3)), "colours that are no class, such as 1,2,3"),
        ("voc", Image.new("L", (W, H), 21), "numbers that are no class: 21"),
    ],
)
def test_an_unfit_mask_leaves_its_image_out(name: str, mask: Image.Image, fault: str, tmp_path: Path) -> None:
    exports.MAKE[name](tmp_path / "source")
    path = next(p for p in (tmp_path / "source").rglob("lake*.png") if "Object" not in str(p))
    save(mask, path)
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert len(summary.dropped) == 1
    assert "lake" in summary.dropped[0]
    assert fault in summary.dropped[0]


def test_masks_with_loss_are_refused(tmp_path: Path) -> None:
    for name in NAMES:
        save(photo(name), tmp_path / f"source/images/{name}.jpg")
        save(Image.fromarray(exports.ids(name)), tmp_path / f"source/masks/{name}.jpg")
    with pytest.raises(FastnasError, match=r"mask lake.jpg is a JPEG file, whose compression changes class ids"):
        import_dataset(tmp_path / "source", tmp_path / "out")


def test_a_reordered_palette_is_read_by_its_colours(tmp_path: Path) -> None:
    exports.make_voc(tmp_path / "source")
    path = tmp_path / "source/SegmentationClass/lake.png"
    with Image.open(path) as image:
        colours = image.convert("RGB")
    save(colours.quantize(3), path)
    import_dataset(tmp_path / "source", tmp_path / "out")
    np.testing.assert_array_equal(masks(tmp_path / "out")["lake"], exports.ids("lake") * 7)


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        (Bitmap("!!", [0, 0]), "a bitmap is damaged"),
        (Bitmap(None, [0, 0]), "a bitmap is damaged"),
        (Bitmap(exports.bitmap(np.ones((5, 5)))[:-20], [0, 0]), "a bitmap is damaged"),
        (Bitmap(exports.bitmap(np.ones((5, 5))), [8, 0]), "reaches out of the image"),
        (Bitmap(exports.bitmap(np.ones((5, 5))), [-1, 0]), "reaches out of the image"),
        (Bitmap(exports.bitmap(np.ones((5, 5))), [float("nan"), 0]), "two numbers"),
        (Bitmap(exports.bitmap(np.ones((5, 50))), [0, 0]), "larger than its image"),
        (Runs(None, [10, 10]), "whole numbers"),
        (Outline(["ab"]), "list of points"),
        (Outline([[[1, 2], [3]]]), "list of points"),
        (Outline([[[1, 2, 3]] * 4]), "list of points"),
        (Outline([None]), "list of points"),
    ],
)
def test_a_damaged_shape_is_one_line(shape: Any, fault: str) -> None:
    assert shape.area >= 0
    with pytest.raises(FastnasError, match=fault):
        shape.mask((10, 10), (10, 10))


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"bbox": [1, 2, 0, 4]}, "its box must be x, y, width and height"),
        ({"bbox": None}, "its box must be"),
        ({"keypoints": [1, 2, 2]}, "3 joints need 9 numbers"),
        ({"keypoints": [1, 2, 2] * 2 + [float("nan"), 1, 2]}, "3 joints need 9 numbers"),
        ({"keypoints": [1, 2, 7] * 3}, "visibility of a joint must be 0, 1 or 2"),
        ({"keypoints": [0] * 9}, "no joint is labelled"),
    ],
)
def test_damaged_people_are_left_out(changed: dict[str, Any], fault: str, tmp_path: Path) -> None:
    exports.make_keypoints(tmp_path / "source")
    path = tmp_path / "source/annotations/person_keypoints_default.json"
    content = json.loads(path.read_text())
    content["annotations"][0].update(changed)
    dump(content, path)
    summary = import_dataset(tmp_path / "source", tmp_path / "out")
    assert sum(summary.images.values()) == 4
    assert fault in summary.dropped[0]


def mutated(value: Any, chance: random.Random) -> Any:
    """A JSON value with one of its parts replaced by something that does not belong there."""
    value = copy.deepcopy(value)
    place: Any = None
    key: Any = None
    inner = value
    while isinstance(inner, (dict, list)) and inner and chance.random() < 0.9:
        place, key = inner, chance.choice(list(inner)) if isinstance(inner, dict) else chance.randrange(len(inner))
        inner = inner[key]
    odd = [None, True, -1, 10**30, 1e308, float("nan"), "", "\ud800", "[/b]", [], {}, [[]], {"id": 1}, "../..", 0, 2.5]
    if place is not None:
        if chance.random() < 0.15:
            del place[key]
        else:
            place[key] = chance.choice(odd)
    return value


@pytest.mark.parametrize("count", [12, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["coco", "labelme", "supervisely", "keypoints"])
def test_mutated_labels_are_read_or_refused_in_one_line(name: str, count: int, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (exports.MAKE | {"keypoints": exports.make_keypoints})[name](source)
    form = "coco-keypoints" if name == "keypoints" else name
    files = sorted(source.rglob("*.json"))
    originals = {path: json.loads(path.read_text()) for path in files}
    chance = random.Random(count)
    refused: list[FastnasError] = []
    for number in range(count):
        path = chance.choice(files)
        dump(mutated(originals[path], chance), path)
        try:
            import_dataset(source, tmp_path / str(number), form)
        except FastnasError as error:
            refused.append(error)
        dump(originals[path], path)
    assert len(refused) < count
    assert not any("\n" in str(error) for error in refused)
    assert not list(tmp_path.glob(".*"))


# The folder is written as a whole


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    exports.make_masks(tmp_path / "source")
    text("mine", tmp_path / "out/notes.txt")
    with pytest.raises(FastnasError, match="out is there already and not empty"):
        import_dataset(tmp_path / "source", tmp_path / "out")
    with pytest.raises(FastnasError, match=r"is inside of .*source, which is only read"):
        import_dataset(tmp_path / "source", tmp_path / "source/out")
    (tmp_path / "empty").mkdir()
    import_dataset(tmp_path / "source", tmp_path / "empty")


def test_a_failure_leaves_nothing_and_remains_of_a_kill_are_removed(tmp_path: Path) -> None:
    exports.make_masks(tmp_path / "source")

    def interrupted(things: Any, title: str) -> Any:
        for number, thing in enumerate(things):
            if title == "writing images" and number == 2:
                raise KeyboardInterrupt
            yield thing

    with pytest.raises(KeyboardInterrupt):
        import_dataset(tmp_path / "source", tmp_path / "out", track=interrupted)
    assert os.listdir(tmp_path) == ["source"]
    text("", tmp_path / ".out.part/images/left.jpg")  # as a kill leaves it
    import_dataset(tmp_path / "source", tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]
    assert not (tmp_path / "out/images/left.jpg").exists()
    assert sorted(os.listdir(tmp_path / "out")) == [
        "dataset.json", "images", "masks", "preview.png", "train.txt", "val.txt"
    ]  # fmt: skip


# The commands


def test_the_command_prints_what_to_do_next(tmp_path: Path) -> None:
    exports.make_keypoints(tmp_path / "source")
    command = ["data", "import", str(tmp_path / "source"), "--out", str(tmp_path / "my out"), "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["format"] == "COCO JSON with keypoints"
    assert printed["next"] == [
        f"fastnas data check keypoints --root '{tmp_path}/my out'",
        f"fastnas train arch0 --data keypoints --root '{tmp_path}/my out'",
    ]


def test_more_than_ten_lines_are_counted(tmp_path: Path) -> None:
    exports.make_masks(tmp_path / "source")
    for number in range(12):
        save(photo("lake"), tmp_path / f"source/images/extra{number}.jpg")
    result = CliRunner().invoke(main, ["data", "import", str(tmp_path / "source"), "--out", str(tmp_path / "out")])
    assert result.output.count("it has no labels") == 10
    assert "left out: 12 in all (--json lists them)" in result.output


@pytest.mark.parametrize("kind", ["segmentation", "depth", "pose"])
def test_show_draws_synthetic_scenes(kind: str, tmp_path: Path) -> None:
    command = ["data", "show", "synthetic", "--task", kind, "--out", str(tmp_path / "sheet.png"), "--count", "4"]
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["drawn"]) == 4
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_show_draws_the_labels_and_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports.make_cvat(tmp_path / "source")
    import_dataset(tmp_path / "source", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["data", "show", "folder", "--root", "out", "--split", "val"])
    assert result.output == "1 of 1 samples of folder val drawn in folder-val.png\n"
    with Image.open("folder-val.png") as sheet:
        pixels = np.asarray(sheet).reshape(-1, 3)
    assert all((pixels == colour).all(1).any() for colour in exports.COLOURS)  # in the legend
    result = CliRunner().invoke(main, ["data", "show", "folder", "--root", "out", "--out", "sheet.jpg"])
    assert result.exit_code == 1
    assert "must end in .png" in result.output


def export_of(name: str, root: Path) -> tuple[Path, list[str]]:
    """The folder that a tool wrote, and the options which its import needs."""
    makers = exports.MAKE | {"coco-keypoints": exports.make_keypoints, "colours": exports.make_colours}
    makers[name](root / "source")
    if name != "colours":
        return root / "source", []
    return root / "source", ["--colours", str(exports.colour_table(root / "colours.txt"))]


def test_every_format_has_an_export() -> None:
    assert {*exports.MAKE, "coco-keypoints", "colours"} == {*FORMATS, "roboflow-coco", "yolo-cvat"}


# What an import writes is one of two layouts, whatever it read: a training of each is enough in the default tests.
@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow if name != "coco" else ()) for name in exports.MAKE),
        "coco-keypoints",
        pytest.param("colours", marks=pytest.mark.slow),
    ],
)
def test_three_commands_from_an_export_to_a_trained_network(name: str, tmp_path: Path) -> None:
    source, options = export_of(name, tmp_path)
    out, run = str(tmp_path / "out"), tmp_path / "run"
    small = ["--epochs", "1", "--workers", "0", "--channels", "8", "--encoder-weights", "none", "--out", str(run)]
    small += ["--set", "batch=2", "--set", "crop=64,64"]
    result = CliRunner().invoke(main, ["data", "import", str(source), "--out", out, *options, "--json"])
    assert result.exit_code == 0, result.output
    for command, more in zip(json.loads(result.stdout)["next"], ([], small), strict=True):
        result = CliRunner().invoke(main, [*shlex.split(command)[1:], *more])
        assert result.exit_code == 0, result.output
    model = load_model(run / FILE_NAME)
    assert model.spec.task == open_dataset("keypoints" if name == "coco-keypoints" else "folder", out).task
    assert model.metrics
