"""The data of `objects`: all images with masks of Pascal VOC's classes at hand, and DeepLab's logits for each.

    python weights/training/objects.py DATA deeplabv3_mnv2_pascal_quant.tflite OUT

DATA holds folders of images and masks with ids of Pascal VOC, and OUT becomes a dataset `folder` that refers to them.
The 321 images of `voc/val.txt` are the validation set, and no image of the same name is trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from folders import write_folder
from rich.progress import track
from teachers import DeepLab

from fastnas.data import default_task
from fastnas.tasks import Segmentation

SOURCES = {
    "voc": ("JPEGImages", "Masks", ("train",)),
    "voc_animals": ("images", "masks", ("train", "val")),
    "human_seg300": ("images", "masks", ("train",)),
    "coco128_seg": ("images", "masks", ("train",)),
}
"""Folder -> its folders of images and of masks, and the lists that are trained on."""


def main() -> None:
    """Write the lists, and the logits that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    (given.out / "teacher").mkdir(parents=True, exist_ok=True)
    pairs = {source: files(given.data / source, *places) for source, places in SOURCES.items()}
    val = files(given.data / "voc", "JPEGImages", "Masks", ("val",))
    held = {image.stem for image, _ in val}
    train = []
    deeplab = DeepLab(given.teacher)
    for source, found in pairs.items():
        for image, mask in track([pair for pair in found if pair[0].stem not in held], source):
            logits = given.out / "teacher" / f"{source}-{image.stem}.npy"
            if not logits.exists():
                pixels = cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB)
                np.save(logits, deeplab(pixels).astype(np.float16))
            train.append((image, mask, logits))
    task = default_task("segmentation")
    assert isinstance(task, Segmentation)
    write_folder(given.out, {"train": train, "val": val}, task)
    print(f"{len(train)} images to train on, {len(val)} to evaluate")


def files(folder: Path, images: str, masks: str, lists: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """Pairs of an image and its mask, by lists of names without a suffix."""
    names = [line.split()[0] for name in lists for line in (folder / f"{name}.txt").read_text().splitlines() if line]
    return [(folder / images / f"{Path(name).stem}.jpg", folder / masks / f"{Path(name).stem}.png") for name in names]


if __name__ == "__main__":
    main()
