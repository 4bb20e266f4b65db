"""The second dataset of `street`: IDD Lite with the classes of CamVid that its coarser ones mean without doubt.

    python weights/training/street.py DATA/idd_lite OUT

Drivable is road, non-drivable is pavement, vehicles are cars, and sky is sky. Living things (pedestrians and riders),
roadside objects (poles, signs, fences, walls) and far objects (buildings and trees) are ignored. OUT becomes a dataset
`folder` that refers to the images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from folders import write_folder

from fastnas.data.formats.camvid import TASK
from fastnas.tasks import IGNORE

MEANT = {0: "road", 1: "pavement", 2: None, 3: "car", 4: None, 5: None, 6: "sky"}
"""IDD Lite's class id -> CamVid's class, None for ignored."""


def main() -> None:
    """Write the lists and the description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    splits = {split: pairs(given.data, split) for split in ("train", "val")}
    ids = {stored: IGNORE if name is None else TASK.classes.index(name) for stored, name in MEANT.items()}
    write_folder(given.out, splits, TASK, ids)


def pairs(data: Path, split: str) -> list[tuple[Path, Path]]:
    """Image and mask of every name of the list."""
    names = (data / f"{split}.txt").read_text().split()
    return [(next((data / "images").glob(f"{name}.*")), data / "masks" / f"{name}.png") for name in names]


if __name__ == "__main__":
    main()
