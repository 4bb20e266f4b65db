"""Files as people have them, and what becomes of each: two tables of `docs/reliability.md`."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from fastnas.data import open_dataset
from fastnas.data.images import read_image
from fastnas.data.importing.convert import import_dataset
from fastnas.tasks import Pose
from fastnas.tasks.joint_names import mirrored
from tests.helpers import exports
from tests.helpers.datasets import (
    H,
    W,
    dump,
    folder_of_depths,
    folder_of_masks,
    image,
    make_coco,
    make_folder,
    make_keypoints,
    stripes,
    text,
    write_people,
)

# What is read right


class Read(NamedTuple):
    """Inputs that are read right.

    Attributes:
        kind: what is unusual of them.
        inputs: each by name.
        outcome: what they become.
        check: writes the input of a name into a folder, and reads it.
    """

    kind: str
    inputs: tuple[str, ...]
    outcome: str
    check: Callable[[str, Path], None]


def exif(orientation: int) -> Image.Exif:
    values = Image.Exif()
    values[0x0112] = orientation
    return values


def _orientation(name: str, root: Path) -> None:
    pixels = np.zeros((16, 24, 3), dtype=np.uint8)
    pixels[:8, :12], pixels[:8, 12:], pixels[8:, :12] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    for suffix in ("jpg", "png", "webp"):
        Image.fromarray(pixels).save(root / f"a.{suffix}", exif=exif(int(name)), quality=95)
        shown = cv2.imread(str(root / f"a.{suffix}"))
        assert shown is not None
        ours = read_image(root / f"a.{suffix}").permute(1, 2, 0).numpy()
        assert ours.shape == shown.shape
        assert np.abs(ours.astype(int) - shown[..., ::-1]).mean() < 1


def _grey(mode: str) -> Image.Image:
    arrays: dict[str, Any] = {
        "I;16": np.full((4, 6), 100 * 257, np.uint16),
        "I": np.full((4, 6), 100 * 257, np.int32),
        "F": np.full((4, 6), 100 / 255, np.float32),
    }
    if mode in arrays:
        return Image.fromarray(arrays[mode])
    if mode == "CMYK":
        return Image.new(mode, (6, 4), (0, 0, 0, 155))
    return Image.new("L", (6, 4), 100).convert(mode)


def _mode(name: str, root: Path) -> None:
    _grey(name).save(root / "a.tif")
    assert np.abs(read_image(root / "a.tif").numpy().astype(int) - 100).max() <= 1


def _class_ids(name: str, root: Path) -> None:
    arrays = {"16 bits": np.uint16, "32 bits": np.int32}
    mask = stripes(0, 1, 255)
    if name in arrays:
        mask = Image.fromarray(np.asarray(mask).astype(arrays[name]))
    elif name == "a palette":
        mask.putpalette([9, 9, 9, 200, 0, 0])
    else:
        mask = stripes(7, 255, 9)
    folder = folder_of_masks(root, [mask], "tif", mask_map={"7": 0, "255": 1, "9": 255} if "map" in name else {})
    assert open_dataset("folder", folder)[0]["mask"][0].tolist() == [0, 1, 255]


def _joints(name: str, root: Path) -> None:
    left, right = name.split(" and ")
    content = json.loads((make_keypoints(root) / "people.json").read_text())
    content["categories"][0]["keypoints"] = [left, right, "neck", "head_top"]
    dump(root / "people.json", content)
    task = open_dataset("keypoints", root).task
    assert isinstance(task, Pose)
    assert task.mirror == mirrored(("left_hip", "right_hip", "neck", "head_top")) == (1, 0, 2, 3)


def _polygon(name: str, root: Path) -> None:
    points = {
        "no point": [],
        "one point": [20, 20],
        "two points": [20, 20, 40, 40],
        "outside": [-9, -9, -5, -9, -5, -5],
    }
    path = make_coco(root) / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [points[name]]
    dump(path, content)
    assert (open_dataset("coco", root)[0]["mask"] == 15).sum() == 0


def _hidden(name: str, root: Path) -> None:
    make_keypoints(root)
    (root / name).write_bytes(b"\0\5\x16\7")
    assert len(open_dataset("keypoints", root, "all")) == 10
    exports.make_masks(root / "source")
    (root / "source/images" / name).write_bytes(b"\0\5\x16\7")
    assert import_dataset(root / "source", root / "out").dropped == []


def _byte_order_mark(name: str, root: Path) -> None:
    make_folder(root)
    for file in ("dataset.json", "train.txt"):
        (root / file).write_text((root / file).read_text(), encoding={"UTF-8": "utf-8-sig", "UTF-16": "utf-16"}[name])
    assert open_dataset("folder", root)[0]["name"] == "train/my photo"


def _export(name: str, root: Path) -> None:
    exports.MAKE[name](root / "source")
    summary = import_dataset(root / "source", root / "out")
    assert summary.dropped == []
    for split in summary.images:
        dataset = open_dataset("folder", root / "out", split)
        for sample in map(dataset.__getitem__, range(len(dataset))):
            scene = sample["name"].rpartition("/")[2].partition("_jpg")[0]
            expected = exports.ids(scene) * (7 if name == "voc" else 1)
            np.testing.assert_array_equal(sample["mask"].numpy(), expected)


SPELLINGS = (
    "left_hip and right_hip", "Left_hip and Right_hip", "hip_left and hip_right", "left hip and right hip",
    "leftHip and rightHip", "left-hip and right-hip", "L_Hip and R_Hip", "hip_l and hip_r", "LHip and RHip",
    "hip.left and hip.right", "hip(L) and hip(R)", "lefthip and righthip",
)  # fmt: skip
READS = (
    Read("EXIF orientation, in JPEG, PNG and WebP", (*"12345678",), "upright, as OpenCV shows it", _orientation),
    Read(
        "pixels of an image, by PIL's mode",
        ("L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
        "RGB of 8 bits, equally bright",
        _mode,
    ),
    Read(
        "class ids stored otherwise",
        ("16 bits", "32 bits", "a palette", "other numbers and mask_map"),
        "the class ids",
        _class_ids,
    ),
    Read("names of joints of two sides", SPELLINGS, "change places in mirrored images", _joints),
    Read("a polygon of", ("no point", "one point", "two points", "outside"), "covers no pixel", _polygon),
    Read("a hidden file beside the images", ("._0.jpg", ".DS_Store", "Thumbs.db"), "is no sample", _hidden),
    Read("a byte order mark, in JSON and lists", ("UTF-8", "UTF-16"), "is left out", _byte_order_mark),
    Read("the export of a labelling tool", tuple(exports.MAKE), "the masks that were drawn", _export),
)

# What is refused, or warned of


class Found(NamedTuple):
    """An input that a command says something about.

    Attributes:
        kind: what it is.
        tried: what is wrong with it.
        words: the command, with ROOT for the folder.
        exit: its exit code.
        says: a part of what it prints.
        make: writes the input into the folder ROOT.
    """

    kind: str
    tried: str
    words: str
    exit: int
    says: str
    make: Callable[[Path], object]


CHECK, PEOPLE, COCO = "data check folder --root ROOT", "data check keypoints --root ROOT", "data check coco --root ROOT"
IMPORT = "data import ROOT --out OUT"
TRAIN = (
    "train arch2 --data folder --root ROOT --out OUT --encoder-weights none --channels 4 --workers 2 --set batch=2 "
    "--set crop=32,32 --epochs 1"
)


def _photo(*arguments: Any, **options: Any) -> Callable[[Path], object]:
    """A folder whose first image is another."""

    def make(root: Path) -> None:
        make_folder(root)
        Image.new(*arguments).save(root / "train/my photo.jpg", **options)

    return make


def _values(values: Any) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        make_folder(root)
        Image.fromarray(np.full((H, W), values)).save(root / "train/my photo.jpg", format="TIFF")

    return make


def _truncated(root: Path) -> None:
    make_folder(root)
    photo = root / "train/my photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)).save(photo)
    photo.write_bytes(photo.read_bytes()[:-200])
    text(root / "train.txt", ["train/my photo.jpg\tlabels/train.png"] * 4)


def png(width: int, height: int, bits: int = 8) -> bytes:
    """The head of a grey PNG file."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def _many_pixels(root: Path) -> None:
    make_folder(root)
    content = io.BytesIO()
    Image.new("L", (1, 1)).save(content, format="PNG")
    head = png(20_000, 18_000)
    (root / "train/my photo.jpg").write_bytes(head + content.getvalue()[len(head) :])


def _masks(*masks: Image.Image, suffix: str = "png", **described: Any) -> Callable[[Path], object]:
    return lambda root: folder_of_masks(root, list(masks), suffix, **described)


def _palette(*colours: tuple[int, int, int]) -> Image.Image:
    mask = stripes(0, 1)
    mask.putpalette([value for colour in colours for value in colour])
    return mask


def _four_bits(root: Path) -> None:
    folder_of_masks(root, [stripes(0, 1)])
    rows = b"IDAT" + zlib.compress(b"\0\x01" * 4)
    end = struct.pack(">I", len(rows) - 4) + rows + struct.pack(">I", zlib.crc32(rows)) + bytes(4) + b"IEND\xaeB`\x82"
    (root / "0-mask.png").write_bytes(png(2, 4, bits=4) + end)


def _people(**changed: Any) -> Callable[[Path], object]:
    """People whose category or annotations are changed."""

    def make(root: Path) -> None:
        make_keypoints(root)
        write_people(root / "people.json", [f"{i}.jpg" for i in range(10)], **changed.get("people", {}))
        content = json.loads((root / "people.json").read_text())
        content["categories"][0] |= changed.get("category", {})
        dump(root / "people.json", content)

    return make


def _narrow_people(root: Path) -> None:
    for number in range(10):
        image(make_keypoints(root) / f"images/{number}.jpg", size=(W // 2, H))


def _object(segmentation: Any) -> Callable[[Path], object]:
    """A COCO object of another outline."""

    def make(root: Path) -> None:
        path = make_coco(root) / "annotations/instances_train2017.json"
        content = json.loads(path.read_text())
        content["annotations"][0]["segmentation"] = segmentation
        dump(path, content)

    return make


def _depths(values: Any) -> Callable[[Path], object]:
    return lambda root: folder_of_depths(root, np.full((H, W), values))


def _depth_file(write: Callable[[Any], object]) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        with (folder_of_depths(root, np.ones((H, W))) / "1.npy").open("wb") as file:
            write(file)

    return make


def _depth_image(mode: str, format_name: str = "PNG") -> Callable[[Path], object]:
    def make(root: Path) -> None:
        text(folder_of_depths(root, np.ones((H, W))) / "train.txt", ["1.jpg 1.png"])
        Image.new(mode, (W, H)).save(root / "1.png", format=format_name)

    return make


def _two_formats(root: Path) -> None:
    exports.make_yolo(root)
    exports.dump(exports.labelme("lake"), root / "lake.json")


def _coco_import(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        exports.make_coco(root)
        path = root / "annotations/instances_train2017.json"
        content = json.loads(path.read_text())
        change(content)
        dump(path, content)

    return make


FINDINGS = (
    Found("EXIF orientation", "a mask of the stored frame", CHECK, 1, f"is {W}x{H}, but its image",
          _photo("RGB", (W, H), exif=exif(6))),
    Found("image", "floats up to 700", CHECK, 1, "mode F must lie within 0 and 1, or 0 and 255",
          _values(np.float32(700))),
    Found("image", "NaN", CHECK, 1, "mode F must lie within 0 and 1, or 0 and 255", _values(np.float32("nan"))),
    Found("image", "integers up to 70000", CHECK, 1, "must lie within 0 and 255, or 0 and 65535",
          _values(np.int32(70000))),
    Found("image", "32,001 pixels wide", CHECK, 1, "a side may have at most 32000 pixels", _photo("RGB", (32_001, 1))),
    Found("image", "360 million pixels", CHECK, 1, "360000000 pixels: an image may have at most", _many_pixels),
    Found("image", "truncated", CHECK, 1, "is not an image, or is damaged: image file is truncated", _truncated),
    Found("image", "truncated, read by a loader process", TRAIN, 1,
          "is not an image, or is damaged: image file is truncated", _truncated),
    Found("mask", "0 and 255 alone", CHECK, 1, 'nothing to learn; if 255 is a class, write "mask_map"',
          _masks(stripes(0, 255))),
    Found("mask", "the same, with the map", CHECK + " --mask-map 255=1", 0, "to train with it, write",
          _masks(stripes(0, 255))),
    Found("mask", "an impossible map", CHECK + " --mask-map 255=x", 2, "is not STORED=ID", _masks(stripes(0, 255))),
    Found("mask", "ignored alone", CHECK, 1, "every pixel is ignored (255)", _masks(stripes(255))),
    Found("mask", "60 % ignored", CHECK, 0, "60% of the pixels are ignored", _masks(stripes(0, 1, 255, 255, 255))),
    Found("mask", "a class that never occurs", CHECK, 0, "no pixel is of: c",
          _masks(stripes(0, 1), classes=["a", "b", "c"])),
    Found("mask", "an id beyond the classes", CHECK, 1, "has class ids out of range: 2", _masks(stripes(0, 2))),
    Found("mask", "JPEG", CHECK, 1, "is a JPEG file, whose compression changes class ids",
          _masks(stripes(*[0, 1] * 8), suffix="jpg")),
    Found("mask", "WebP", CHECK, 1, "is a WEBP file, whose compression changes class ids",
          _masks(stripes(*[0, 1] * 8), suffix="webp")),
    Found("mask", "grey of 4 bits", CHECK, 1, "is grey of 2 or 4 bits", _four_bits),
    Found("mask", "RGB", CHECK, 1, "class ids need one channel", _masks(stripes(0, 1).convert("RGB"))),
    Found("mask", "a palette in another order than the others'", CHECK, 1, "a tool has re-ordered the palette",
          _masks(_palette((255, 0, 0), (0, 255, 0)), _palette((0, 255, 0), (255, 0, 0)))),
    Found("joints", "a side alone", PEOPLE, 1, "joint 'left_hand' is of one side",
          _people(category={"keypoints": ["left_hand", "neck", "a", "b"]})),
    Found("joints", "two of the same name and side", PEOPLE, 1, "'left_hip', 'LHip' are alike",
          _people(category={"keypoints": ["left_hip", "LHip", "right_hip", "a"]})),
    Found("joints", "an impossible pair", PEOPLE, 1, "mirror must", _people(category={"mirror": [["neck", "neck"]]})),
    Found("joints", "pairs that are found", PEOPLE, 0, "left_hand and right_hand", _people()),
    Found("people", "labelled at another aspect", PEOPLE, 1, f"labelled as {W}x{H}, but the image is {W // 2}x{H}",
          _narrow_people),
    Found("people", "coordinates that are NaN", PEOPLE, 1, "coordinates that are NaN or infinite",
          _people(people={"keypoints": [float("nan"), 2, 2, *[1] * 9]})),
    Found("COCO object", "run lengths that end early", COCO, 1, "run lengths are truncated or damaged: they",
          _object({"size": [80, 100], "counts": [0, 800]})),
    Found("COCO object", "run lengths in text that end early", COCO, 1, "run lengths are truncated",
          _object({"size": [80, 100], "counts": "0m7"})),
    Found("COCO object", "run lengths of another size", COCO, 1, "run lengths are for an image of 40x50",
          _object({"size": [50, 40], "counts": [0, 2000]})),
    Found("COCO object", "an odd number of coordinates", COCO, 1, "a polygon has an odd number of coordinates, 3",
          _object([[1, 2, 3]])),
    Found("COCO object", "NaN in a polygon", COCO, 1, "a polygon has coordinates that are NaN or infinite",
          _object([[1, 2, float("nan"), 3, 4, 5]])),
    Found("COCO object", "a polygon to 10^12", COCO, 1, "a polygon reaches far out of the image",
          _object([[1, 2, 1e12, 3, 4, 5]])),
    Found("depth", "millimetres read as metres", CHECK, 1, "every depth is above the range of 0.5 to 10 m",
          _depths(2500)),
    Found("depth", "below the range", CHECK, 1, "every depth is below the range", _depths(0.001)),
    Found("depth", "missing everywhere", CHECK, 1, "every depth is missing", _depths(0)),
    Found("depth", ".npz named .npy", CHECK, 1, "is an archive of arrays",
          _depth_file(lambda file: np.savez(file, a=np.ones((H, W))))),
    Found("depth", "an array of text", CHECK, 1, "is an array of type <U1",
          _depth_file(lambda file: np.save(file, np.full((H, W), "a")))),
    Found("depth", "an array of objects", CHECK, 1, "damaged, or no array: Object arrays",
          _depth_file(lambda file: np.save(file, np.full((H, W), None), allow_pickle=True))),
    Found("depth", "an image in palette colours", CHECK, 1, "colours or flags, no depths", _depth_image("P")),
    Found("depth", "an image in RGB", CHECK, 1, "one number for every pixel is needed", _depth_image("RGB")),
    Found("depth", "JPEG", CHECK, 1, "is a JPEG file, whose compression changes depths", _depth_image("L", "JPEG")),
    Found("class names", "two equal ones", CHECK, 1, "two classes or joints named 'a'",
          _masks(stripes(0, 1), classes=["a", "a"])),
    Found("class names", "an escape sequence", CHECK, 1, "is no name",
          _masks(stripes(0, 1), classes=["a", "\x1b[31m"])),
    Found("class names", "`[parked]` and `[/parked]`", CHECK, 0, "[/parked]",
          _masks(stripes(0, 1), classes=["[parked]", "[/parked]"])),
    Found("export", "of two formats", IMPORT, 1, "--format yolo) and LabelMe JSON (--format labelme): say which",
          _two_formats),
    Found("export", "no labels", IMPORT, 1, "labels in no format that is known", lambda root: image(root / "a.jpg")),
    Found("export", "masks in colours, without a table", IMPORT, 1, "give --colours FILE", exports.make_colours),
    Found("export", "a path out of the folder", IMPORT, 0, "image ../../secret.jpg is missing",
          _coco_import(lambda content: content["images"][0].update(file_name="../../secret.jpg"))),
    Found("export", "an image listed twice", IMPORT, 0, "listed twice",
          _coco_import(lambda content: content["images"].append({**content["images"][0], "id": 77}))),
    Found("export", "a polygon with NaN", IMPORT, 0, "NaN or infinite",
          _coco_import(lambda content: content["annotations"][0].update(segmentation=[[1, 2, float("nan"), 3, 4, 5]]))),
    Found("export", "a folder that is not empty", "data import ROOT --out ROOT", 1, "is there already and not empty",
          exports.make_masks),
)  # fmt: skip
