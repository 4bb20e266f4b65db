"""The data of `people`: the masks of Pascal VOC's people at hand, as two classes.

    python weights/training/people.py DATA OUT

Every image with a person is trained on, and a third of those without. The validation set is the 37 images of
`human_seg300/val.txt` and the 321 of `voc/val.txt`; no image of the same name is trained on. OUT becomes a dataset
`folder` that refers to the images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from folders import PERSON, write_folder
from objects import SOURCES, files
from PIL import Image
from rich.progress import track

from fastnas.tasks import IGNORE, Segmentation

WITHOUT = 3
"""One of so many images without a person is trained on."""


def main() -> None:
    """Write the lists and the description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    val = [
        pair
        for source in ("human_seg300", "voc")
        for pair in files(given.data / source, *SOURCES[source][:2], ("val",))
    ]
    held = {image.stem for image, _ in val}
    train, others = [], []
    for source, places in SOURCES.items():
        for image, mask in track(files(given.data / source, *places), source):
            if image.stem not in held:
                people = (np.array(Image.open(mask)) == PERSON).any()
                (train if people else others).append((image, mask))
    train += others[::WITHOUT]
    task = Segmentation(("background", "person"), ((0, 0, 0), (192, 128, 128)))
    ids = {stored: int(stored == PERSON) for stored in range(21)}
    write_folder(given.out, {"train": train, "val": val}, task, {**ids, IGNORE: IGNORE})
    print(f"{len(train)} images to train on, {len(val)} to evaluate")


if __name__ == "__main__":
    main()
