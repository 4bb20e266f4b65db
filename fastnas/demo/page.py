"""The page of the demo: one HTML file without external resources, made of the files that the commands wrote."""

from __future__ import annotations

import base64
import json
import shlex
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from markupsafe import Markup, escape

from fastnas import __version__, shelf
from fastnas.demo.stages import PHOTO, PHOTOGRAPHED, TASKS, trained_output
from fastnas.errors import FastnasError
from fastnas.jetson.files import atomic_path
from fastnas.models.genotype import Genotype
from fastnas.published import TABLE_1, TX2_MS
from fastnas.show.drawing import draw, svg_url

SHOWN = 4
"""Predictions of each task, and frames of the camera, that the page shows."""
METRICS = {
    "segmentation": {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"},
    "depth": {"rmse": "RMS error, m", "abs_rel": "relative error", "delta1": "within 25 %"},
    "pose": {"PCKh@0.5": "PCKh@0.5", "PCK@0.2": "PCK@0.2"},
}
"""Task -> metric -> its label on the page; those that the evaluation has are shown."""


class Numbers:
    """Numbers in the JSON files of a folder, shown with their source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read = cache(self._read)

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise FastnasError(f"cannot read {path} ({error}): remove it and run the demo again") from error

    def value(self, name: str, *keys: str | int) -> Any:
        """The value at `keys` of a file.

        Raises:
            FastnasError: the file is missing, damaged, or has no such entry.
        """
        value = self.read(name)
        try:
            for key in keys:
                value = value[key]
        except (LookupError, TypeError) as error:
            where = " > ".join(map(str, keys))
            raise FastnasError(f"{self.folder / name} has no {where}: remove it and run the demo again") from error
        return value

    def show(self, name: str, *keys: str | int, form: str = "{:.3f}", scale: float = 1) -> Markup:
        """The number at `keys` as a `<data>` element that names the file, the keys and the exact value."""
        value = self.value(name, *keys)
        source = escape(json.dumps([name, *keys]))
        text = "–" if value is None else form.format(value * scale)
        return Markup(f'<data value="{escape(value)}" data-from="{source}">{escape(text)}</data>')


def write_page(out: Path) -> Path:
    """Write `index.html` into the demo's folder and return its path.

    Raises:
        FastnasError: an output of a stage is missing or damaged.
    """
    numbers = Numbers(out)
    best = Genotype.parse(numbers.value("search.json", "best", 0, "genotype"))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(resources.files("fastnas.demo").joinpath("page.html").read_text())
    evaluated = {task: numbers.value(f"eval-{task}.json", "metrics") for task in TASKS}
    page = template.render(
        show=numbers.show,
        value=numbers.value,
        trained=_trained(out),
        tasks=TASKS,
        metrics={task: {key: METRICS[task][key] for key in METRICS[task] if key in evaluated[task]} for task in TASKS},
        genotype=str(best),
        drawing=svg_url(draw(best, "the network of this search")),
        course=_image(out / "search" / "report" / "course.png"),
        predictions={task: _predictions(out, task) for task in TASKS},
        sweep=_url("image/svg+xml", (out / "sweep.svg").read_bytes()),
        frames=_frames(out / "camera.mp4"),
        table=TABLE_1["arch0"],
        tx2=TX2_MS["arch0"],
        out=shlex.quote(str(out)),
        version=__version__,
    )
    with atomic_path(out / "index.html") as temporary:
        temporary.write_text(page)
    return out / "index.html"


def _trained(out: Path) -> dict[str, tuple[str, str]]:
    """What the trained networks find in the photo: name -> what it predicts, and the drawing."""
    entries = shelf.entries()
    photo = Path(PHOTO).stem
    return {
        name: (entries[name].about, _image(out / "trained" / name / "overlays" / f"{photo}.jpg"))
        for name in PHOTOGRAPHED
        if trained_output(out, name).exists() and name in entries
    }


def _predictions(out: Path, task: str) -> list[str]:
    folder = out / "predictions" / task
    found = sorted(folder.glob("*.png"))
    if not found:
        raise FastnasError(f"no images in {folder}: remove {out / f'eval-{task}.json'} and run the demo again")
    return [_image(path) for path in found[:: max(1, len(found) // SHOWN)][:SHOWN]]


def _frames(video: Path) -> list[str]:
    """Frames of a video, evenly spread."""
    capture = cv2.VideoCapture(str(video))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    if not frames:
        raise FastnasError(f"{video} has no frames: remove it and run the demo again")
    return [_jpeg(frames[index]) for index in np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)]


def _image(path: Path) -> str:
    image = cv2.imread(str(path))
    if image is None:
        raise FastnasError(f"cannot read the image {path}: remove it and run the demo again")
    return _jpeg(image)


def _jpeg(image: np.ndarray) -> str:
    """An image, B, G, R, [H, W, 3], as a data URL."""
    return _url("image/jpeg", cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
