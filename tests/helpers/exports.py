"""Small exports as labelling tools write them, all of the same scenes: a rectangle of each of two classes."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

W, H = 40, 32
CLASSES = ("car", "wet [road]")
COLOURS = ((250, 50, 83), (50, 183, 250))
NAMES = ("lake", "park", "street", "yard", "zoo")
TRAIN, VAL = NAMES[:3], NAMES[3:]


def boxes(name: str) -> list[tuple[int, int, int, int]]:
    """x0, y0, x1, y1 of the two objects of a scene; the smaller second one lies over the first."""
    shift = NAMES.index(name)
    return [(2 + shift, 4, 22 + shift, 20), (15, 10 + shift, 20, 16 + shift)]


def ids(name: str) -> np.ndarray:
    """What the mask of a scene must be: uint8 [H, W]."""
    mask = np.zeros((H, W), dtype=np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(boxes(name), start=1):
        mask[y0:y1, x0:x1] = number
    return mask


def photo(name: str, size: tuple[int, int] = (W, H)) -> Image.Image:
    """A coarse pattern, another for each name."""
    pattern = np.random.default_rng(list(name.encode())).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(pattern).resize(size, Image.Resampling.BILINEAR)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def dump(value: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def text(value: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)
    return path


def ring(box: tuple[int, int, int, int]) -> list[list[float]]:
    x0, y0, x1, y1 = box
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def flat(points: list[list[float]]) -> list[float]:
    return [value for point in points for value in point]


def runs(mask: np.ndarray) -> list[int]:
    """COCO's run lengths of a mask, down the columns, beginning outside."""
    values = np.concatenate([[0], mask.T.ravel().astype(int), [2]])
    edges = np.flatnonzero(np.diff(values))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    return counts if sum(counts) == mask.size else [*counts, mask.size - sum(counts)]


def coco(names: tuple[str, ...], suffix: str = ".jpg") -> dict[str, Any]:
    """The second object as run lengths in COCO's text, as CVAT writes masks."""
    from pycocotools import mask as coco_mask

    images, annotations = [], []
    for image_id, name in enumerate(names, start=1):
        images.append({"id": image_id, "file_name": name + suffix, "width": W, "height": H})
        for category_id, box in enumerate(boxes(name), start=1):
            segmentation: Any = [flat(ring(box))]
            if category_id == 2:
                drawn = np.zeros((H, W), dtype=np.uint8, order="F")
                drawn[box[1] : box[3], box[0] : box[2]] = 1
                encoded = coco_mask.encode(drawn)
                segmentation = {"size": encoded["size"], "counts": encoded["counts"].decode()}
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": category_id, "iscrowd": 0,
                 "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]], "segmentation": segmentation}
            )  # fmt: skip
    categories = [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def make_coco(root: Path) -> None:
    for split, names in (("train2017", TRAIN), ("val2017", VAL)):
        dump(coco(names), root / f"annotations/instances_{split}.json")
        for name in names:
            save(photo(name), root / split / f"{name}.jpg")


def make_roboflow_coco(root: Path) -> None:
    """Categories begin with one that groups the others."""
    for split, names in (("train", TRAIN), ("valid", VAL)):
        content = coco(names)
        for category in content["categories"]:
            category["supercategory"] = "things"
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
        dump(content, root / split / "_annotations.coco.json")
        for name in names:
            save(photo(name), root / split / f"{name}.jpg")


def make_yolo(root: Path) -> None:
    text(
        "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['car', 'wet [road]']\n",
        root / "data.yaml",
    )
    for split, names in (("train", TRAIN), ("valid", VAL)):
        for name in names:
            save(photo(name), root / split / "images" / f"{name}.jpg")
            lines = []
            for number, box in enumerate(boxes(name)):
                shares = [x / W if i % 2 == 0 else x / H for i, x in enumerate(flat(ring(box)))]
                lines.append(" ".join([str(number), *(f"{share:.6f}" for share in shares)]))
            text("\n".join(lines) + "\n", root / split / "labels" / f"{name}.txt")


def make_yolo_cvat(root: Path) -> None:
    """Images and labels by split inside of images/ and labels/, with lists, classes as a table."""
    text("path: ./\ntrain: train.txt\nval: val.txt\nnames:\n  0: car\n  1: wet [road]\n", root / "data.yaml")
    flat_root = root / "flat"
    make_yolo(flat_root)
    for old, split, names in (("train", "train", TRAIN), ("valid", "val", VAL)):
        text("".join(f"images/{split}/{name}.jpg\n" for name in names), root / f"{split}.txt")
        for kind in ("images", "labels"):
            (root / kind).mkdir(exist_ok=True)
            (flat_root / old / kind).rename(root / kind / split)
        (flat_root / old).rmdir()
    (flat_root / "data.yaml").unlink()
    flat_root.rmdir()


def labelme(name: str, **changed: Any) -> dict[str, Any]:
    first, second = boxes(name)
    shapes = [
        {"label": CLASSES[0], "points": ring(first), "group_id": None, "shape_type": "polygon", "flags": {}},
        {"label": CLASSES[1], "points": ring(second)[::2], "group_id": None, "shape_type": "rectangle", "flags": {}},
        {"label": CLASSES[1], "points": [[3, 3]], "group_id": None, "shape_type": "point", "flags": {}},
    ]
    return {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None,
            "imageHeight": H, "imageWidth": W, **changed}  # fmt: skip


def make_labelme(root: Path) -> None:
    for name in NAMES:
        save(photo(name), root / f"{name}.jpg")
        dump(labelme(name), root / f"{name}.json")


def coloured(name: str) -> Image.Image:
    """The mask of a scene in colours, background black."""
    return Image.fromarray(np.array([(0, 0, 0), *COLOURS], dtype=np.uint8)[ids(name)])


def make_cvat(root: Path) -> None:
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(CLASSES, COLOURS, strict=True)]
    text("\n".join(lines) + "\n", root / "labelmap.txt")
    text("".join(f"{name}\n" for name in NAMES), root / "ImageSets/Segmentation/default.txt")
    for name in NAMES:
        save(photo(name), root / f"JPEGImages/{name}.jpg")
        save(coloured(name), root / f"SegmentationClass/{name}.png")
        save(coloured(name), root / f"SegmentationObject/{name}.png")


def make_voc(root: Path) -> None:
    from fastnas.data.formats.voc import colour_map

    palette = [value for colour in colour_map(256) for value in colour]
    for split, names in (("train", TRAIN), ("val", VAL)):
        text("".join(f"{name}\n" for name in names), root / f"ImageSets/Segmentation/{split}.txt")
        for name in names:
            save(photo(name), root / f"JPEGImages/{name}.jpg")
            mask = Image.fromarray(ids(name) * 7)
            mask.putpalette(palette)
            save(mask, root / f"SegmentationClass/{name}.png")


def bitmap(mask: np.ndarray) -> str:
    """A mask as Supervisely stores it: a palette PNG with a transparent colour, compressed, in base64."""
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    content = io.BytesIO()
    image.save(content, format="PNG", transparency=0)
    return base64.b64encode(zlib.compress(content.getvalue())).decode()


def make_supervisely(root: Path) -> None:
    """Corners of polygons are pixels that belong to the object."""
    classes = [
        {"title": name, "shape": "any", "color": "#" + bytes(colour).hex()}
        for name, colour in zip(CLASSES, COLOURS, strict=True)
    ]
    dump({"classes": classes, "tags": []}, root / "meta.json")
    for name in NAMES:
        save(photo(name), root / f"ds0/img/{name}.jpg")
        (x0, y0, x1, y1), second = boxes(name)
        exterior = [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]
        drawn = np.ones((second[3] - second[1], second[2] - second[0]))
        objects = [
            {"classTitle": CLASSES[0], "geometryType": "polygon", "points": {"exterior": exterior, "interior": []}},
            {"classTitle": CLASSES[1], "geometryType": "bitmap",
             "bitmap": {"data": bitmap(drawn), "origin": list(second[:2])}},
        ]  # fmt: skip
        content = {"description": "", "tags": [], "size": {"height": H, "width": W}, "objects": objects}
        dump(content, root / f"ds0/ann/{name}.jpg.json")


def make_roboflow(root: Path) -> None:
    for split, names in (("train", TRAIN), ("valid", VAL)):
        text("Pixel Value, Class\n0, background\n1, car\n2, wet [road]\n", root / split / "_classes.csv")
        for name in names:
            save(photo(name), root / split / f"{name}_jpg.rf.0f{NAMES.index(name)}.jpg")
            save(Image.fromarray(ids(name)), root / split / f"{name}_jpg.rf.0f{NAMES.index(name)}_mask.png")


def make_masks(root: Path) -> None:
    for name in NAMES:
        save(photo(name), root / f"images/{name}.jpg")
        save(Image.fromarray(ids(name)), root / f"masks/{name}.png")


def make_colours(root: Path) -> None:
    for name in NAMES:
        save(photo(name), root / f"images/{name}.jpg")
        save(coloured(name), root / f"masks/{name}_mask.png")


def colour_table(path: Path) -> Path:
    lines = [f"{r} {g} {b} {name}" for name, (r, g, b) in zip(CLASSES, COLOURS, strict=True)]
    return text("0 0 0 background\n" + "\n".join(lines) + "\n", path)


MAKE = {
    "coco": make_coco,
    "roboflow-coco": make_roboflow_coco,
    "yolo": make_yolo,
    "yolo-cvat": make_yolo_cvat,
    "labelme": make_labelme,
    "cvat": make_cvat,
    "voc": make_voc,
    "supervisely": make_supervisely,
    "roboflow": make_roboflow,
    "masks": make_masks,
}

JOINTS = ("head", "left_hand", "right_hand")


def keypoints(names: tuple[str, ...], **changed: Any) -> dict[str, Any]:
    images, annotations = [], []
    for image_id, name in enumerate(names, start=1):
        x, y, x1, y1 = boxes(name)[0]
        images.append({"id": image_id, "file_name": f"{name}.jpg", "width": W, "height": H})
        points = [x + 10, y, 2, x, y + 8, 1, 0, 0, 0]
        annotations.append(
            {"id": image_id, "image_id": image_id, "category_id": 1, "iscrowd": 0, "keypoints": points,
             "num_keypoints": 2, "bbox": [x, y, x1 - x, y1 - y], "area": 300, **changed}
        )  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(JOINTS), "skeleton": [[1, 2], [1, 3]]}
    return {"images": images, "annotations": annotations, "categories": [category]}


def make_keypoints(root: Path) -> None:
    for name in NAMES:
        save(photo(name), root / f"images/default/{name}.jpg")
    dump(keypoints(NAMES), root / "annotations/person_keypoints_default.json")
