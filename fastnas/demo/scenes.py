"""Images as files, for the commands of the demo: calibration images and a clip of generated scenes, and a photo."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fastnas.data.synthetic.dataset import SyntheticScenes
from fastnas.errors import FastnasError
from fastnas.jetson.files import atomic_path

FPS, HEIGHT, WIDTH, PANORAMA = 12, 384, 512, 1152


def write_images(folder: Path, count: int) -> None:
    """Write `count` PNG images of the training scenes; images that exist are kept."""
    scenes = SyntheticScenes("train", size=(256, 256))
    for index in range(count):
        path = folder / f"{scenes.name}-{index:03d}.png"
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_bytes(cv2.imencode(".png", _bgr(scenes, index))[1].tobytes())


def write_clip(path: Path, frames: int) -> None:
    """Write an mp4 video that pans over two wide scenes, there and back; a clip that exists is kept.

    Raises:
        FastnasError: this OpenCV cannot write mp4 files.
    """
    if path.exists():
        return
    part = path.with_name(f"part-of-{path.name}")  # OpenCV takes the format from the suffix
    writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    scenes = SyntheticScenes("test", size=(HEIGHT, PANORAMA))
    lefts = np.linspace(0, PANORAMA - WIDTH, max(2, frames // 2)).round().astype(int).tolist()
    for index, offsets in enumerate((lefts, lefts[::-1])):
        panorama = _bgr(scenes, index)
        for left in offsets:
            writer.write(np.ascontiguousarray(panorama[:, left : left + WIDTH]))
    writer.release()
    if not part.exists():
        raise FastnasError(f"cannot write {path}: this OpenCV has no writer for mp4 files; fastnas doctor says more")
    os.replace(part, path)


def write_photo(path: Path) -> None:
    """Write the portrait of Grace Hopper (U.S. Navy, public domain) that Matplotlib carries."""
    from matplotlib.cbook import get_sample_data

    photo = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
    with atomic_path(path) as temporary:
        temporary.write_bytes(photo.read_bytes())


def _bgr(scenes: SyntheticScenes, index: int) -> npt.NDArray[np.uint8]:
    """The image of a scene as OpenCV has it, [H, W, 3]."""
    return np.ascontiguousarray(scenes.scene(index).image[::-1].transpose(1, 2, 0))
