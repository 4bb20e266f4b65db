"""Tiny data sets on disk, each in the layout that its authors publish."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

W, H = 24, 16


def image(path: Path, size: tuple[int, int] = (W, H), colour: tuple[int, int, int] = (200, 100, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def ids(path: Path, *values: int, size: tuple[int, int] = (W, H), palette: bool = False) -> None:
    """A mask of equal columns of class ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.array(values, dtype=np.uint8)[np.arange(size[0]) * len(values) // size[0]]
    picture = Image.fromarray(np.tile(columns, (size[1], 1)))
    if palette:
        picture.putpalette([(37 * i) % 256 for i in range(768)])
    picture.save(path)


def text(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


# One tiny tree for each dataset, as it is published


def make_voc(root: Path) -> Path:
    home = root / "VOCdevkit/VOC2012"
    for split, names in {"train": ["a", "b"], "val": ["c"]}.items():
        text(home / f"ImageSets/Segmentation/{split}.txt", names)
    for name in "abcdef":
        image(home / f"JPEGImages/{name}.jpg")
    for name in "abc":
        ids(home / f"SegmentationClass/{name}.png", 0, 15, 255, 20, palette=True)
    return root


def make_sbd(root: Path) -> Path:
    sbd = make_voc(root) / "benchmark_RELEASE/dataset"
    text(sbd / "train.txt", ["a", "d"])
    text(sbd / "val.txt", ["c", "e"])  # c is in VOC's val, so it must not be trained on
    (sbd / "cls").mkdir()
    for name in "acde":
        savemat(sbd / f"cls/{name}.mat", {"GTcls": {"Segmentation": np.full((H, W), 7, dtype=np.uint8)}})
    return root


def make_cityscapes(root: Path) -> Path:
    for split in ("train", "val"):
        name = "ulm_000001_000019"
        image(root / f"leftImg8bit/{split}/ulm/{name}_leftImg8bit.png")
        ids(root / f"gtFine/{split}/ulm/{name}_gtFine_labelIds.png", 0, 7, 26, 33, 29, 255)
    return root


def make_camvid(root: Path) -> Path:
    for split in ("train", "val"):
        for name in ("0001TP_1", "0001TP_2"):
            image(root / split / f"{name}.png")
            ids(root / f"{split}annot/{name}.png", 0, 3, 10, 11)
    text(root / "val.txt", ["/SegNet/CamVid/val/0001TP_2.png /SegNet/CamVid/valannot/0001TP_2.png"])
    return root


def make_nyud(root: Path) -> Path:
    for name, number, kind in (("1", 2500, np.uint16), ("2", 51, np.uint8)):
        image(root / f"rgb/{name}.jpg")
        pixels = np.full((H, W), number).astype(kind)
        pixels[0, 0] = 0
        (root / "depth").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / f"depth/{name}.png")
    text(root / "train.txt", ["1", "2"])
    text(root / "val.txt", ["2"])
    return root


def make_labelled_nyud(root: Path) -> Path:
    """The labelled .mat and its splits."""
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        # MATLAB's [H, W, 3, N] and [H, W, N], which HDF5 shows in reverse
        pixels = np.arange(3 * W * H).reshape(3, W, H) % 251
        file["images"] = np.stack([pixels + i for i in range(4)]).astype(np.uint8)
        file["depths"] = np.stack([np.arange(W * H).reshape(W, H) + i for i in range(4)]).astype(np.float32)
        raw = np.stack([np.arange(W * H).reshape(W, H) % 3 for _ in range(4)]).astype(np.float32)
        raw[:, 1, 1] = np.nan
        file["rawDepths"] = raw
    savemat(root / "splits.mat", {"trainNdxs": np.array([[2], [4]]), "testNdxs": np.array([[1], [3]])})
    return root


def make_folder(root: Path) -> Path:
    dump(root / "dataset.json", {"kind": "segmentation", "classes": ["floor", "wall"]})
    for split in ("train", "val"):
        text(root / f"{split}.txt", [f"{split}/my photo.jpg\tlabels/{split}.png"])
        image(root / f"{split}/my photo.jpg")
        ids(root / f"labels/{split}.png", 0, 1, 255)
    return root


def coco_images(*names: str, size: tuple[int, int] = (W, H)) -> list[dict]:
    width, height = size
    return [{"id": i, "file_name": name, "width": width, "height": height} for i, name in enumerate(names, start=1)]


def make_coco(root: Path) -> Path:
    for split in ("train", "val"):
        for name in ("1.jpg", "2.jpg", "3.jpg"):
            image(root / f"{split}2017/{name}", size=(100, 80))
        categories = [{"id": 1, "name": "person"}, {"id": 63, "name": "couch"}, {"id": 25, "name": "giraffe"}]
        box = {"iscrowd": 0, "bbox": [10, 10, 50, 40]}
        square = [[10, 10, 60, 10, 60, 50, 10, 50]]
        small = [[20, 20, 40, 20, 40, 40, 20, 40]]
        runs = {"size": [80, 100], "counts": [0, 80 * 5, 80 * 95]}  # the 5 columns on the left
        annotations = [
            {"id": 1, "image_id": 1, "category_id": 1, "area": 400, "segmentation": small, **box},
            {"id": 2, "image_id": 1, "category_id": 63, "area": 2000, "segmentation": square, **box},
            {"id": 3, "image_id": 1, "category_id": 1, "area": 400, "segmentation": runs, **box, "iscrowd": 1},
            {"id": 4, "image_id": 2, "category_id": 25, "area": 2000, "segmentation": square, **box},
            {"id": 5, "image_id": 3, "category_id": 1, "area": 999, "segmentation": small, **box},
        ]
        content = {"images": coco_images("1.jpg", "2.jpg", "3.jpg", size=(100, 80)), "annotations": annotations}
        dump(root / f"annotations/instances_{split}2017.json", {**content, "categories": categories})
        write_people(root / f"annotations/person_keypoints_{split}2017.json", ["1.jpg", "2.jpg"], size=(100, 80))
    return root


JOINTS = ["left_hand", "right_hand", "neck", "head_top"]


def write_people(path: Path, names: list[str], size: tuple[int, int] = (W, H), **changed: Any) -> None:
    points = [1, 2, 2, 3, 4, 1, 10, 8, 2, 7, 4, 2]
    annotations = [
        {"id": 10 + i, "image_id": i, "category_id": 1, "iscrowd": 0, "bbox": [2, 3, 10, 8], "area": 70,
         "keypoints": points, "num_keypoints": 4, **changed}
        for i in range(1, len(names) + 1)
    ]  # fmt: skip
    annotations.append({**annotations[0], "id": 98, "iscrowd": 1})
    annotations.append({**annotations[0], "id": 99, "keypoints": [0] * 12, "num_keypoints": 0})
    person = {"id": 1, "name": "person", "keypoints": JOINTS, "skeleton": [[1, 3], [2, 3], [3, 4]]}
    dump(path, {"images": coco_images(*names, size=size), "annotations": annotations, "categories": [person]})


def make_keypoints(root: Path) -> Path:
    names = [f"{i}.jpg" for i in range(10)]
    for name in names:
        image(root / "images" / name)
    write_people(root / "people.json", names)
    return root


# Masks and depths of their own


def folder_of_masks(root: Path, masks: list[Image.Image], suffix: str = "png", **described: Any) -> Path:
    dump(root / "dataset.json", {"kind": "segmentation", "classes": ["floor", "wall"], **described})
    lines = []
    for number, mask in enumerate(masks):
        image(root / f"{number}.jpg", size=mask.size)
        mask.save(root / f"{number}-mask.{suffix}")
        lines.append(f"{number}.jpg {number}-mask.{suffix}")
    text(root / "train.txt", lines)
    return root


def stripes(*values: int) -> Image.Image:
    return Image.fromarray(np.repeat(np.array([values], dtype=np.uint8), 4, axis=0))


def folder_of_depths(root: Path, stored: np.ndarray, **described: Any) -> Path:
    dump(root / "dataset.json", {"kind": "depth", "minimum": 0.5, "maximum": 10, **described})
    image(root / "1.jpg")
    np.save(root / "1.npy", stored)
    text(root / "train.txt", ["1.jpg 1.npy"])
    return root


MPII_POINTS = np.stack([np.arange(16) + 2.0, np.arange(16) + 5.0], axis=1)


def make_mpii(root: Path) -> Path:
    entry = {"joints_vis": [0] + [1] * 15, "joints": MPII_POINTS.tolist(), "scale": 0.1, "center": [11.0, 9.0]}
    for number, name in enumerate(("train", "valid")):
        image(root / f"images/{number}.jpg")
        dump(root / f"annot/{name}.json", [{**entry, "image": f"{number}.jpg"}])
    boxes = np.array([[[2.0], [4.0]], [[5.0], [8.0]]])
    savemat(root / "annot/gt_valid.mat", {"headboxes_src": boxes})
    return root


MAKE = {
    "voc": make_voc,
    "coco": make_coco,
    "cityscapes": make_cityscapes,
    "camvid": make_camvid,
    "nyud": make_nyud,
    "mpii": make_mpii,
    "keypoints": make_keypoints,
    "folder": make_folder,
}
