"""Files as people have them: the right values, or one line about the file; never a wrong result without a word."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import re
import signal
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from fastnas.cli import main
from fastnas.data import open_dataset
from fastnas.data.check import SplitReport, check_dataset
from fastnas.data.images import LONGEST_SIDE, read_image, read_size
from fastnas.data.transforms import eval_transform, train_transform
from fastnas.errors import FastnasError
from fastnas.tasks import Depth, Pose, Segmentation
from fastnas.tasks.joint_names import mirrored, words
from fastnas.tasks.pose_metrics import sigma, torso_length
from fastnas.train.loaders import EpochBatches, SeededSamples, eval_loader, killed_loaders_named, train_loader
from tests.helpers.datasets import (
    H,
    W,
    dump,
    folder_of_depths,
    folder_of_masks,
    ids,
    image,
    make_camvid,
    make_cityscapes,
    make_coco,
    make_folder,
    make_keypoints,
    make_nyud,
    make_voc,
    stripes,
    text,
    write_people,
)


def train_report(name: str, root: Path, **options: Any) -> SplitReport:
    return check_dataset(name, root, **options).splits[0]


def exif(orientation: int) -> Image.Exif:
    values = Image.Exif()
    values[0x0112] = orientation
    return values


def scene() -> Image.Image:
    """Four colours, so that every rotation and reflection looks different."""
    pixels = np.zeros((16, 24, 3), dtype=np.uint8)
    pixels[:8, :12], pixels[:8, 12:], pixels[8:, :12] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    return Image.fromarray(pixels)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_images_are_read_as_the_camera_shows_them(tmp_path: Path, suffix: str, orientation: int):
    path = tmp_path / f"a.{suffix}"
    scene().save(path, exif=exif(orientation), quality=95)
    shown = cv2.imread(str(path))
    assert shown is not None
    ours = read_image(path).permute(1, 2, 0).numpy()
    assert read_size(path) == shown.shape[1::-1] == ours.shape[1::-1]
    assert np.abs(ours.astype(int) - shown[..., ::-1]).mean() < 1


def test_tiff_files_are_turned_once(tmp_path: Path):
    scene().save(tmp_path / "a.tif", exif=exif(6))
    assert read_size(tmp_path / "a.tif") == (16, 24)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.tif").permute(1, 2, 0), scene().transpose(Image.Transpose.ROTATE_270)
    )


@pytest.mark.parametrize("damage", [b"Exif\0\0II*\0", b"nonsense", b""])
def test_damaged_metadata_is_no_orientation(tmp_path: Path, damage: bytes):
    scene().save(tmp_path / "a.png", exif=damage)
    assert read_size(tmp_path / "a.png") == (24, 16)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0), scene())


def test_masks_are_in_the_frame_that_is_shown(tmp_path: Path):
    root = make_folder(tmp_path)
    photo = root / "train/my photo.jpg"
    Image.new("RGB", (H, W)).save(photo, exif=exif(6))  # stored upright, shown lying as the mask
    sample = open_dataset("folder", root)[0]
    assert sample["image"].shape[1:] == sample["mask"].shape == (H, W)
    report = train_report("folder", root)
    assert (report.rotated, report.problems, report.sizes) == (1, [], {f"{W}x{H}": 1})
    shown = CliRunner().invoke(main, ["data", "check", "folder", "--root", str(root)]).output
    assert "1 images carry an EXIF orientation: read as a camera shows them" in shown

    ids(root / "labels/train.png", 0, 1, size=(H, W))  # as it is stored
    assert (
        f"is {H}x{W}, but its image {photo} is {W}x{H} as a camera shows it" in train_report("folder", root).problems[0]
    )


def test_a_mask_with_an_orientation_is_turned_too(tmp_path: Path):
    root = make_folder(tmp_path)
    stored = np.zeros((W, H), dtype=np.uint8)
    stored[:, : H // 2] = 1  # shown above after a quarter turn to the right
    Image.fromarray(stored).save(root / "labels/train.png", exif=exif(6))
    mask = open_dataset("folder", root)[0]["mask"]
    assert mask[: H // 2].eq(1).all()
    assert mask[H // 2 :].eq(0).all()


def test_people_on_a_rotated_photo(tmp_path: Path):
    root = make_keypoints(tmp_path)
    Image.new("RGB", (H, W)).save(root / "images/0.jpg", exif=exif(8))
    assert open_dataset("keypoints", root, "all")[0]["keypoints"].tolist()[0] == [1, 2]
    image(root / "images/0.jpg", size=(H, W))
    with pytest.raises(FastnasError, match=rf"0.jpg: it was labelled as {W}x{H}, but the image is {H}x{W}, as"):
        open_dataset("keypoints", root, "all")[0]


# Pixel formats


def grey(level: int) -> Image.Image:
    return Image.new("L", (6, 4), level)


MODES: dict[str, tuple[Image.Image, tuple[int, int, int]]] = {
    "1": (Image.new("1", (6, 4), 1), (255, 255, 255)),
    "L": (grey(100), (100, 100, 100)),
    "LA": (Image.new("LA", (6, 4), (100, 7)), (100, 100, 100)),
    "P": (Image.new("RGB", (6, 4), (10, 20, 30)).quantize(2), (10, 20, 30)),
    "PA": (Image.new("RGB", (6, 4), (10, 20, 30)).quantize(2).convert("PA"), (10, 20, 30)),
    "RGB": (Image.new("RGB", (6, 4), (10, 20, 30)), (10, 20, 30)),
    "RGBA": (Image.new("RGBA", (6, 4), (10, 20, 30, 0)), (10, 20, 30)),
    "RGBX": (Image.new("RGBX", (6, 4), (10, 20, 30, 0)), (10, 20, 30)),
    "CMYK": (Image.new("CMYK", (6, 4), (0, 0, 0, 155)), (100, 100, 100)),
    "YCbCr": (Image.new("YCbCr", (6, 4), (100, 128, 128)), (100, 100, 100)),
    "LAB": (Image.new("LAB", (6, 4), (120, 128, 128)), (112, 112, 112)),
    "I": (Image.fromarray(np.full((4, 6), 100 * 257, dtype=np.int32)), (100, 100, 100)),
    "I small": (Image.fromarray(np.full((4, 6), 100, dtype=np.int32)), (100, 100, 100)),
    "I;16": (Image.fromarray(np.full((4, 6), 100 * 257, dtype=np.uint16)), (100, 100, 100)),
    "I;16B": (Image.frombytes("I;16B", (6, 4), bytes([100, 100] * 24)), (100, 100, 100)),
    "F": (Image.fromarray(np.full((4, 6), 100 / 255, dtype=np.float32)), (100, 100, 100)),
    "F large": (Image.fromarray(np.full((4, 6), 100, dtype=np.float32)), (100, 100, 100)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_keeps_its_values(tmp_path: Path, mode: str):
    stored, expected = MODES[mode]
    path = tmp_path / "a.tif"
    stored.save(path)
    ours = read_image(path)
    assert ours.shape == (3, 4, 6)
    assert np.abs(ours.amin((1, 2)).numpy().astype(int) - expected).max() <= 4 * (mode == "LAB")
    assert torch.equal(ours.amin((1, 2)), ours.amax((1, 2)))
    camera = cv2.imread(str(path))
    if camera is not None and mode not in ("1", "PA", "LAB", "RGBA"):  # which OpenCV reads otherwise in TIFF
        assert np.abs(camera[0, 0, ::-1].astype(int) - ours[:, 0, 0].numpy()).max() <= 4


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [("La", (50, 128), (99, 99, 99)), ("RGBa", (50, 50, 50, 128), (99, 99, 99)), ("HSV", (0, 255, 90), (90, 0, 0))],
)
def test_modes_that_no_file_has(mode: str, values: tuple[int, ...], expected: tuple[int, int, int]):
    from fastnas.data.images import as_rgb

    assert as_rgb(Image.new(mode, (2, 2), values)).getpixel((0, 0)) == expected


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1", "I;16"])
def test_png_as_the_camera_reads_it(tmp_path: Path, mode: str):
    path = tmp_path / "a.png"
    MODES[mode][0].save(path, **({"transparency": 0} if mode == "P" else {}))
    camera = cv2.imread(str(path))
    assert camera is not None
    np.testing.assert_array_equal(read_image(path).permute(1, 2, 0).numpy(), camera[..., ::-1])


def test_white_may_be_zero(tmp_path: Path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((4, 6), 100 * 257, dtype=np.uint16)).save(path, tiffinfo={262: 0})
    assert read_image(path).unique().tolist() == [155]


@pytest.mark.parametrize(
    "values", [np.float32(700), np.float32("nan"), np.float32(-0.1), np.int32(-1), np.int32(70000), np.float32("inf")]
)
def test_values_of_no_known_range_are_refused(tmp_path: Path, values: np.generic):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((4, 6), values)).save(path)
    with pytest.raises(
        FastnasError, match=r"a.tif has values from .*: an image of mode . must lie within 0 and"
    ) as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_an_image_that_is_too_wide_is_one_line_everywhere(tmp_path: Path):
    root = make_folder(tmp_path)
    image(root / "train/my photo.jpg", size=(LONGEST_SIDE, 1))
    ids(root / "labels/train.png", 0, 1, size=(LONGEST_SIDE, 1))
    sample = open_dataset("folder", root)[0]
    task = open_dataset("folder", root).task
    assert train_transform(task, (8, 8))(sample)["image"].shape == (3, 8, 8)
    assert eval_transform(task, multiple=512)(sample)["image"].shape[2] >= LONGEST_SIDE
    photo = root / "train/my photo.jpg"
    Image.new("RGB", (LONGEST_SIDE + 1, 1)).save(photo)
    expected = f"{photo} is {LONGEST_SIDE + 1}x1: a side may have at most {LONGEST_SIDE} pixels, cut it into tiles"
    assert train_report("folder", root).problems == [expected]
    with pytest.raises(FastnasError) as error:
        open_dataset("folder", root)[0]
    assert str(error.value) == expected


def test_an_image_of_too_many_pixels_is_one_line(tmp_path: Path):
    path = tmp_path / "a.png"
    png = bytearray(pixels_of_png(1, 1))
    png[16:24] = struct.pack(">II", 20_000, 18_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    path.write_bytes(png)
    expected = f"{path} has 360000000 pixels: an image may have at most 178956970, cut it into tiles"
    for read in (read_image, read_size):
        with pytest.raises(FastnasError) as error:
            read(path)
        assert str(error.value) == expected


def pixels_of_png(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, format="PNG")
    return content.getvalue()


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_processes_name_the_damaged_file(tmp_path: Path, workers: int):
    root = make_folder(tmp_path)
    photo = root / "train/my photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)).save(photo)
    photo.write_bytes(photo.read_bytes()[:-200])
    dataset = open_dataset("folder", root)
    loaders = [
        train_loader(SeededSamples([dataset], eval_transform(dataset.task), 0), EpochBatches([1], 1, 0), workers),
        eval_loader(dataset, eval_transform(dataset.task), 1, workers),
    ]
    for loader in loaders:
        with pytest.raises(FastnasError) as error:
            list(loader)
        assert str(error.value).startswith(f"{photo} is not an image, or is damaged: image file is truncated")
        assert "\n" not in str(error.value)
        assert "Traceback" not in str(error.value)


def kill_loaders(path: Path) -> torch.Tensor:
    """In place of `read_image`: a loader process is killed, as the kernel does it for lack of memory."""
    if torch.utils.data.get_worker_info() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return read_image(path)


KILLED = "a data loader process was killed (Killed), most often for lack of memory: lower --workers or the batch"


@pytest.mark.parametrize("command", ["train", "eval"])
def test_a_killed_loader_process_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str):
    root = make_folder(tmp_path / "data")
    text(root / "train.txt", ["train/my photo.jpg\tlabels/train.png"] * 2)
    how = ["--data", "folder", "--root", str(root), "--workers", "1", "--accelerator", "cpu"]
    small = ["--encoder-weights", "none", "--channels", "8", "--set", "batch=2", "--set", "crop=32,32"]
    words = ["train", "arch2", *small, "--epochs", "1", "--out", str(tmp_path / "run"), *how]
    if command == "eval":
        assert CliRunner().invoke(main, words).exit_code == 0
        words = ["eval", str(tmp_path / "run/model.safetensors"), *how]
    monkeypatch.setattr("fastnas.data.base.read_image", kill_loaders)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1, result.output
    assert result.stderr.strip().splitlines()[-1] == f"Error: {KILLED}"
    assert "Traceback" not in result.output


def test_a_loader_process_may_be_killed_at_any_time(tmp_path: Path):
    dataset = open_dataset("folder", make_folder(tmp_path))
    loader = train_loader(SeededSamples([dataset] * 8, eval_transform(dataset.task), 0), EpochBatches([8], 1, 0), 1)
    before = set(multiprocessing.active_children())

    @killed_loaders_named()
    def use() -> None:
        for _ in loader:
            (process,) = set(multiprocessing.active_children()) - before
            process.kill()
            time.sleep(60)  # PyTorch's error is raised here

    with pytest.raises(FastnasError, match=re.escape(KILLED)):
        use()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", KILLED),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are",
            "a data loader process was killed (Bus error), for lack of shared memory: take --workers 0, or start the "
            "container with a larger --shm-size",
        ),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", KILLED.replace("was killed (Killed)", "ended")),
    ],
)
def test_what_pytorch_says_of_loader_processes_is_one_line(message: str, line: str):
    with pytest.raises(FastnasError) as error, killed_loaders_named():
        raise RuntimeError(message)
    assert str(error.value) == line
    with pytest.raises(RuntimeError, match="sizes differ"), killed_loaders_named():
        raise RuntimeError("sizes differ")


# Masks


def test_masks_of_0_and_255_are_not_ready_until_mapped(tmp_path: Path):
    root = folder_of_masks(tmp_path, [stripes(0, 0, 255, 0), stripes(0, 255)])
    report = train_report("folder", root)
    assert report.problems == [
        "in 2 decoded masks there are only floor and ignored pixels (255, 33.33%): nothing to learn; if 255 is a "
        'class, write "mask_map": {"255": 1} into dataset.json (try it: --mask-map 255=1)'
    ]
    arguments = ["data", "check", "folder", "--root", str(root)]
    assert CliRunner().invoke(main, arguments).exit_code == 1
    tried = CliRunner().invoke(main, [*arguments, "--mask-map", "255=1"])
    assert tried.exit_code == 0, tried.output
    assert 'to train with it, write "mask_map": {"255": 1} into dataset.json' in tried.output
    dump(root / "dataset.json", {"kind": "segmentation", "classes": ["floor", "wall"], "mask_map": {"255": 1}})
    assert train_report("folder", root).labels == pytest.approx({"floor": 2 / 3, "wall": 1 / 3, "(ignored)": 0})
    assert open_dataset("folder", root)[0]["mask"][0].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("wrong", [[1], {"a": 1}, {"256": 1}, {"1": 2}, {"1": "wall"}, {"1": True}, {"-1": 0}])
def test_an_impossible_mask_map_is_refused(tmp_path: Path, wrong: Any):
    root = folder_of_masks(tmp_path, [stripes(0, 1)], mask_map=wrong)
    with pytest.raises(FastnasError, match=r"dataset.json: mask_map must be like"):
        open_dataset("folder", root)


@pytest.mark.parametrize("wrong", ["255", "a=1", "1=2=3", "1=1,1=0", "=", "-1=0"])
def test_an_impossible_mask_map_option_is_wrong_usage(wrong: str):
    result = CliRunner().invoke(main, ["data", "check", "folder", "--mask-map", wrong])
    assert result.exit_code == 2
    assert "is not STORED=ID" in result.output


def test_ignored_and_unused_classes_are_said(tmp_path: Path):
    root = folder_of_masks(tmp_path, [stripes(0, 1, 255, 255, 255)], classes=["a", "b", "c"])
    report = train_report("folder", root)
    assert report.warnings[0] == "in 1 decoded masks no pixel is of: c"
    assert report.warnings[1].startswith("60% of the pixels are ignored (255) in 1 decoded masks; if 255 is a class")
    root = folder_of_masks(tmp_path, [stripes(255)])
    assert train_report("folder", root).problems[0].startswith("every pixel is ignored (255) in 1 decoded masks")


@pytest.mark.parametrize(("mode", "kind"), [("I;16", np.uint16), ("I", np.int32)])
def test_ids_may_have_16_or_32_bits(tmp_path: Path, mode: str, kind: type):
    root = folder_of_masks(tmp_path, [stripes(0, 1)])
    path = root / "0-mask.tif"
    text(root / "train.txt", ["0.jpg 0-mask.tif"])
    for values, line in (
        ([0, 1], ""),
        ([0, 2], "has class ids out of range: 2"),
        ([0, 256], "has numbers from 0 to 256: class ids reach from 0 to 255"),
        ([-1, 1], "has numbers from "),
    ):
        Image.fromarray(np.repeat(np.array([values]).astype(kind), 4, axis=0)).save(path)
        with Image.open(path) as stored:
            assert stored.mode == mode
        problems = train_report("folder", root).problems
        if line:
            assert f"mask {path} {line}" in problems[0]
        else:
            assert problems == []
            assert open_dataset("folder", root)[0]["mask"][0].tolist() == values


def test_ids_in_three_channels_are_refused_with_the_way_out(tmp_path: Path):
    root = folder_of_masks(tmp_path, [stripes(0, 1).convert("RGB")])
    assert train_report("folder", root).problems == [
        f"mask {root / '0-mask.png'} has pixels of mode RGB: class ids need one channel, grey or of a palette; fastnas "
        "data import reads masks in colours, and ids stored in three equal channels"
    ]


@pytest.mark.parametrize(("suffix", "format_name"), [("jpg", "JPEG"), ("webp", "WEBP")])
def test_lossy_masks_are_refused_by_their_headers(tmp_path: Path, suffix: str, format_name: str):
    root = folder_of_masks(tmp_path, [stripes(*[0, 1] * 8)], suffix)
    expected = f"mask {root / f'0-mask.{suffix}'} is a {format_name} file, whose compression changes class ids"
    assert expected in train_report("folder", root, decode=0).problems[0]


def test_grey_of_4_bits_is_refused(tmp_path: Path):
    root = folder_of_masks(tmp_path, [stripes(0, 1)])

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", 2, 4, 4, 0, 0, 0, 0)  # 2x4, 4 bits, grey
    rows = zlib.compress(b"\0\x01" * 4)  # 0 and 1, which PIL scales to 0 and 17
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (root / "0-mask.png").write_bytes(png)
    assert "0-mask.png is grey of 2 or 4 bits" in train_report("folder", root).problems[0]


def palette(mask: Image.Image, *colours: tuple[int, int, int]) -> Image.Image:
    mask.putpalette([value for colour in colours for value in colour])
    return mask


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_palettes_that_a_tool_has_re_ordered(tmp_path: Path):
    whole = palette(stripes(0, 1), RED, GREEN)
    root = folder_of_masks(tmp_path / "a", [whole, palette(stripes(0, 1), GREEN, RED)])
    problem = train_report("folder", root).problems[0]
    assert "palettes differ: the colour 0,255,0 is wall in " in problem
    assert "a tool has re-ordered the palette" in problem

    root = folder_of_masks(tmp_path / "b", [palette(stripes(0, 1), GREEN, RED)], colours=[RED, GREEN])
    assert "has the colour 0,255,0 of wall where the mask means floor" in train_report("folder", root).problems[0]

    root = folder_of_masks(tmp_path / "c", [palette(stripes(0, 1), (128, 0, 0), (0, 0, 0))])
    report = train_report("folder", root)
    assert report.problems == []
    assert "only right if the numbers are the class ids" in report.warnings[0]

    root = folder_of_masks(tmp_path / "d", [whole, palette(stripes(0, 1, 0), RED, GREEN)], colours=[RED, GREEN])
    report = train_report("folder", root)
    assert (report.problems, report.warnings) == ([], [])
    root = folder_of_masks(tmp_path / "e", [palette(stripes(0, 1), BLUE, BLUE)])
    assert train_report("folder", root).warnings == []


# Joints


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_hip", "right_hip"), ("Left_hip", "Right_hip"), ("LEFT_HIP", "RIGHT_HIP"), ("hip_left", "hip_right"),
        ("left hip", "right hip"), ("leftHip", "rightHip"), ("left-hip", "right-hip"), ("L_Hip", "R_Hip"),
        ("l_hip", "r_hip"), ("LHip", "RHip"), ("lhip", "rhip"), ("hip_l", "hip_r"), ("hipL", "hipR"),
        ("hip.left", "hip.right"), ("LHIP", "RHIP"), ("lefthip", "righthip"), ("hip(L)", "hip(R)"), ("l hip", "r hip"),
        ("hip_left", "right_hip"), ("LtHip", "RtHip"),
    ],
)  # fmt: skip
def test_sides_are_found_by_any_usual_spelling(left: str, right: str):
    def shoulder(hip: str) -> str:
        return hip.replace("hip", "shoulder").replace("Hip", "Shoulder").replace("HIP", "SHOULDER")

    joints = ("nose", left, right, shoulder(left), shoulder(right))
    assert mirrored(joints) == (0, 2, 1, 4, 3)
    assert "hip" in words(left)
    assert sigma(left) == 0.107
    assert torso_length(joints, torch.tensor([[0.0, 0], [0, 0], [9, 9], [12, 13], [0, 0]]), torch.ones(5) > 0) == 5


def test_sides_in_names_that_are_no_words():
    assert mirrored(["FL_paw", "FR_paw", "RL_paw", "RR_paw", "tail"]) == (1, 0, 3, 2, 4)
    assert mirrored(["L1", "L2", "L3"]) == (0, 1, 2)  # vertebrae
    assert mirrored(["L1", "R1"]) == (1, 0)
    assert mirrored([*"abcdefghijklmnopqrs"]) == tuple(range(19))
    assert mirrored(["rear", "front", "heel", "collar_rib"]) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("joints", "complaint"),
    [
        (["left_hand", "neck"], "joint 'left_hand' is of one side"),
        (["neck", "RHand"], "joint 'RHand' is of one side"),
        (["left_eye", "right_ear"], "joint 'left_eye' is of one side"),
        (["left_hip", "LHip", "right_hip"], "'left_hip', 'LHip' are alike"),
        (["LL", "LR", "RL", "RR"], "'LR', 'RL' are alike"),
    ],
)
def test_joints_that_cannot_be_mirrored_are_refused(tmp_path: Path, joints: list[str], complaint: str):
    root = make_keypoints(tmp_path)
    content = json.loads((root / "people.json").read_text())
    content["categories"][0] |= {"keypoints": [*joints, *"xyz"][:4]}
    dump(root / "people.json", content)
    with pytest.raises(FastnasError, match=rf"people.json: .*{complaint}"):
        open_dataset("keypoints", root)
    content["categories"][0]["mirror"] = [content["categories"][0]["keypoints"][:2]]
    dump(root / "people.json", content)
    task = open_dataset("keypoints", root).task
    assert isinstance(task, Pose)
    assert task.mirror == (1, 0, 2, 3)


@pytest.mark.parametrize("pairs", [3, ["ab"], [["left_hand"]], [["left_hand", "foot"]], [["neck", "neck"]]])
def test_impossible_pairs_are_refused(tmp_path: Path, pairs: Any):
    root = make_keypoints(tmp_path)
    content = json.loads((root / "people.json").read_text())
    content["categories"][0]["mirror"] = pairs
    dump(root / "people.json", content)
    with pytest.raises(FastnasError, match=r"people.json: mirror must"):
        open_dataset("keypoints", root)


def test_check_prints_the_pairs(tmp_path: Path):
    root = make_keypoints(tmp_path)
    result = CliRunner().invoke(main, ["data", "check", "keypoints", "--root", str(root)])
    assert "note joints that change places in mirrored images: left_hand and right_hand" in result.output


def test_labels_of_another_size_are_scaled_or_refused(tmp_path: Path):
    root = make_keypoints(tmp_path)
    image(root / "images/0.jpg", size=(W // 2, H // 2))
    sample = open_dataset("keypoints", root, "all")[0]
    assert sample["keypoints"].tolist()[0] == [0.5, 1.0]
    assert sample["box"].tolist() == [[1, 1.5, 6, 5.5]]
    assert (sample["head_size"], sample["area"]) == (2.5, 17.5)
    whole = check_dataset("keypoints", root).splits[2]
    assert whole.notes[0] == f"labels scaled from {W}x{H} to {W // 2}x{H // 2} (1 samples)"
    image(root / "images/0.jpg", size=(W // 2, H))
    with pytest.raises(FastnasError, match=rf"it was labelled as {W}x{H}, but the image is {W // 2}x{H}"):
        open_dataset("keypoints", root, "all")[0]


def test_joints_far_outside_are_said(tmp_path: Path):
    root = make_keypoints(tmp_path)
    content = json.loads((root / "people.json").read_text())
    content["images"] = [
        {k: v for k, v in entry.items() if k not in ("width", "height")} for entry in content["images"]
    ]
    for person in content["annotations"]:
        person["keypoints"] = [100 * v if i % 3 < 2 else v for i, v in enumerate(person["keypoints"])]
    dump(root / "people.json", content)
    assert "every joint lies outside of its image" in train_report("keypoints", root).problems[0]


# COCO


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        (
            {"size": [80, 100], "counts": [0, 800]},
            "run lengths are truncated or damaged: they cover 800 of 8000",
        ),
        ({"size": [80, 100], "counts": "0m7"}, "run lengths are truncated"),
        ({"size": [50, 40], "counts": [0, 2000]}, "run lengths are for an image of 40x50, but it is 100x80"),
        ({"size": [80, 100]}, "run lengths must be whole numbers"),
        ([[1, 2, 3]], "a polygon has an odd number of coordinates, 3"),
        ([[1, 2, float("nan"), 3, 4, 5]], "a polygon has coordinates that are NaN or infinite"),
        ([[1, 2, 1e12, 3, 4, 5]], "a polygon reaches far out of the image"),
        ([], "an object has a box but no outline"),
        ("all", "an object has a box but no outline"),
    ],
)
def test_a_damaged_coco_object_is_one_line(tmp_path: Path, shape: Any, complaint: str):
    path = make_coco(tmp_path) / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = shape
    dump(path, content)
    with pytest.raises(FastnasError, match=complaint) as error:
        open_dataset("coco", tmp_path)[0]
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_polygons_of_a_point_cover_nothing(tmp_path: Path):
    path = make_coco(tmp_path) / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[20, 20]]
    dump(path, content)
    assert (open_dataset("coco", tmp_path)[0]["mask"] == 15).sum() == 0


def test_objects_are_scaled_to_an_image_of_the_same_aspect(tmp_path: Path):
    root = make_coco(tmp_path)
    path = root / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][:2]  # run lengths cannot be scaled
    dump(path, content)
    image(root / "train2017/1.jpg", size=(50, 40))
    assert (open_dataset("coco", root)[0]["mask"] == 15).sum() == 100
    assert train_report("coco", root).notes == ["labels scaled from 100x80 to 50x40 (1 samples)"]


# Depths


@pytest.mark.parametrize(
    ("level", "complaint"),
    [
        (2500, r"every depth is above the range of 0.5 to 10 m \(2500 to 2500 m\): is \"unit\" of dataset.json"),
        (0.001, r"every depth is below the range"),
        (0, "every depth is missing"),
        (float("nan"), "every depth is missing"),
    ],
)
def test_depths_out_of_the_range_are_not_ready(tmp_path: Path, level: float, complaint: str):
    root = folder_of_depths(tmp_path, np.full((H, W), level))
    with pytest.raises(AssertionError, match=complaint):
        assert not train_report("folder", root).problems


def test_most_depths_out_of_the_range_are_warned_of(tmp_path: Path):
    stored = np.full((H, W), 20.0)
    stored[:4] = 5
    assert (
        "75% of the depths are out of the range"
        in train_report("folder", folder_of_depths(tmp_path, stored)).warnings[0]
    )


def test_files_that_are_no_depths(tmp_path: Path):
    root = folder_of_depths(tmp_path, np.ones((H, W)))
    path = root / "1.npy"
    faults: dict[str, Any] = {
        "is an archive of arrays": lambda file: np.savez(file, a=np.ones((H, W))),
        "is an array of type <U1": lambda file: np.save(file, np.full((H, W), "a")),
        "damaged, or no array: Object arrays": lambda file: np.save(file, np.full((H, W), None), allow_pickle=True),
        "is an array of type complex128": lambda file: np.save(file, np.ones((H, W), dtype=complex)),
        "is an array of type bool": lambda file: np.save(file, np.ones((H, W), dtype=bool)),
        "has the shape": lambda file: np.save(file, np.ones((H, W, 1))),
    }
    for complaint, write in faults.items():
        with path.open("wb") as file:
            write(file)
        problem = train_report("folder", root).problems[0]
        assert complaint in problem
        assert str(path) in problem
        assert "\n" not in problem
    text(root / "train.txt", ["1.jpg 1.png"])
    for mode, complaint in (("P", "colours or flags, no depths"), ("1", "colours or flags"), ("RGB", "has the shape")):
        Image.new(mode, (W, H)).save(root / "1.png")
        assert complaint in train_report("folder", root).problems[0]
    Image.new("L", (W, H), 5).save(root / "1.png", format="JPEG")
    assert "is a JPEG file, whose compression changes depths" in train_report("folder", root).problems[0]


# Names


@pytest.mark.parametrize("names", [["a", "a"], ["a", "a "], ["a", ""], ["a", "b\n"], ["\ud800"], ["\x1b[31m"]])
def test_names_of_classes_are_different_and_printable(tmp_path: Path, names: list[str]):
    root = folder_of_masks(tmp_path, [stripes(0, 1)], classes=names)
    with pytest.raises(FastnasError, match=r"dataset.json: a segmentation task.*(two classes|is no name)"):
        open_dataset("folder", root)


def test_names_of_joints_are_different(tmp_path: Path):
    root = make_keypoints(tmp_path)
    content = json.loads((root / "people.json").read_text())
    content["categories"][0]["keypoints"] = ["neck", "neck", "a", "b"]
    dump(root / "people.json", content)
    with pytest.raises(FastnasError, match="two classes or joints named 'neck'"):
        open_dataset("keypoints", root)


def test_texts_of_users_are_never_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Through data check, data show, train, eval and show; folders, images and classes that look like markup."""
    monkeypatch.chdir(tmp_path)
    root = Path("[red]x")
    classes = ["[parked]", "[/parked]", ":smile:"]
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for split in ("train", "val"):
        lines = []
        for number in range(2):
            name = f"[bold]{split}{number}"
            image(root / f"{name}.png", size=(64, 64))
            Image.fromarray(noise).save(root / f"{name}.png")
            ids(root / f"{name}-mask.png", 0, 1, 2, size=(64, 64))
            lines.append(f"{name}.png {name}-mask.png")
        text(root / f"{split}.txt", lines)
    dump(root / "dataset.json", {"kind": "segmentation", "classes": classes})

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    source = ("--data", "folder", "--root", "[red]x")
    out = "runs/[/red]y"
    shown = run("data", "check", "folder", "--root", "[red]x")
    assert all(name in shown for name in (*classes, "labels in [red]x:"))
    text(root / "test.txt", ["[bold]lost.png [/bold]lost-mask.png"])
    lost = CliRunner().invoke(main, ["data", "check", "folder", "--root", "[red]x"]).output
    assert "problem image [red]x/[bold]lost.png is missing" in lost
    (root / "test.txt").unlink()
    assert "in [/b]s.png" in run("data", "show", "folder", "--root", "[red]x", "--out", "[/b]s.png")
    small = ("--encoder-weights", "none", "--channels", "8", "--accelerator", "cpu", "--workers", "0", "--epochs", "1")
    fields = ("--set", "batch=2", "--set", "crop=64,64")
    trained = run("train", "arch2", *source, *small, *fields, "--out", out)
    assert f"training into {out}:" in trained
    evaluated = run("eval", f"{out}/model.safetensors", *source, "--accelerator", "cpu", "--workers", "0")
    assert all(name in evaluated for name in (*classes, f"{out}/model.safetensors: 2 images", "[bold]val0"))
    assert "drawn: [/d]/red]y.svg" in run("show", f"{out}/model.safetensors", "--draw", "[/d]")


def test_commands_print_through_the_console_of_plain_texts():
    root = Path(__file__).parents[2]
    modules = [path for package in ("fastnas", "search", "train", "deploy") for path in (root / package).rglob("*.py")]
    assert len(modules) > 100
    using = {path.name for path in modules if " Console(" in path.read_text() or "=Console(" in path.read_text()}
    assert using == set()


# Hidden files and byte order marks


def test_hidden_files_are_no_samples(tmp_path: Path):
    def hide(path: Path) -> None:
        for name in (f"._{path.name}", ".DS_Store", "Thumbs.db"):
            (path.parent / name).write_bytes(b"\0\5\x16\7")

    root = make_camvid(tmp_path / "camvid")
    hide(root / "train/0001TP_1.png")
    assert len(open_dataset("camvid", root)) == 2
    root = make_cityscapes(tmp_path / "cityscapes")
    hide(root / "leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png")
    assert len(open_dataset("cityscapes", root)) == 1
    root = make_keypoints(tmp_path / "keypoints")
    hide(root / "people.json")
    assert len(open_dataset("keypoints", root, "all")) == 10
    root = make_nyud(tmp_path / "nyud")
    hide(root / "rgb/1.jpg")
    assert len(open_dataset("nyud", root)) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_read(tmp_path: Path, encoding: str):
    def encode(path: Path) -> None:
        path.write_text(path.read_text(), encoding=encoding)

    root = make_folder(tmp_path / "folder")
    encode(root / "dataset.json")
    encode(root / "train.txt")
    assert open_dataset("folder", root)[0]["name"] == "train/my photo"
    root = make_keypoints(tmp_path / "keypoints")
    encode(root / "people.json")
    assert len(open_dataset("keypoints", root, "all")) == 10
    root = make_voc(tmp_path / "voc")
    encode(root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt")
    assert open_dataset("voc", root)[0]["name"] == "a"


def test_nan_coordinates_of_people_are_one_line(tmp_path: Path):
    root = make_keypoints(tmp_path)
    write_people(root / "people.json", ["1.jpg"], keypoints=[float("nan"), 2, 2, *[1] * 9])
    with pytest.raises(FastnasError, match="annotation 11 has coordinates that are NaN or infinite"):
        open_dataset("keypoints", root, "all")


def test_tasks_refuse_names_that_occur_twice():
    with pytest.raises(FastnasError, match="two classes or joints named 'car'"):
        Segmentation(("car", "car"), ((0, 0, 0), (1, 1, 1)))
    assert Depth(1, 2).outputs == 1
