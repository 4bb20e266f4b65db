"""The demo's page: one HTML file that needs nothing but itself, made from the files that the commands left."""

from __future__ import annotations

import base64
import io
import json
import shlex
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from PIL import Image

from fastnas import __version__
from fastnas.demo.stages import TASKS
from fastnas.errors import FastnasError
from fastnas.jetson.files import atomic_path
from fastnas.models.genotype import Genotype
from fastnas.published import TABLE_1, TX2_MS
from fastnas.show.drawing import draw

SHOWN = 4
"""Pictures of each task, and frames of the camera."""
FIGURES = {
    "segmentation": {"mean_iou": "mean IoU", "pixel_accuracy": "pixels right"},
    "depth": {"rmse": "RMS error, m", "abs_rel": "relative error", "delta1": "within 25 %"},
    "pose": {"PCKh@0.5": "PCKh@0.5", "PCK@0.2": "PCK@0.2"},
}
"""The metrics that the page shows of each task, where the evaluation has them."""


class Figures:
    """Numbers of JSON files, each written with where it comes from.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read = cache(self._read)

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise FastnasError(
                f"cannot read {path} ({error}): remove it and run the demo again to make it anew"
            ) from error

    def value(self, name: str, *keys: str | int) -> Any:
        """What a file says at `keys`.

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
    figures = Figures(out)
    best = Genotype.parse(figures.value("search.json", "best", 0, "genotype"))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(resources.files("fastnas.demo").joinpath("page.html").read_text())
    scores = {
        task: {key: label for key, label in FIGURES[task].items() if key in found["metrics"]}
        for task in TASKS
        if (found := figures.value(f"eval-{task}.json"))
    }
    page = template.render(
        show=figures.show, value=figures.value, tasks=TASKS, scores=scores, genotype=str(best),
        drawing=_svg(best), course=_picture(out / "search" / "report" / "course.png"),
        predictions={task: [_picture(path) for path in _pictures(out, task)] for task in TASKS},
        sweep=_source("image/svg+xml", (out / "sweep.svg").read_bytes()), frames=_frames(out / "camera.mp4"),
        table=TABLE_1["arch0"], tx2=TX2_MS["arch0"],
        out=shlex.quote(str(out)), version=__version__,
    )  # fmt: skip
    with atomic_path(out / "index.html") as temporary:
        temporary.write_text(page)
    return out / "index.html"


def _svg(genotype: Genotype) -> str:
    file = io.BytesIO()
    draw(genotype, "the network of this search").savefig(file, format="svg", bbox_inches="tight")
    return _source("image/svg+xml", file.getvalue())


def _pictures(out: Path, task: str) -> list[Path]:
    found = sorted((out / "pictures" / task).glob("*.png"))
    if not found:
        raise FastnasError(
            f"no pictures in {out / 'pictures' / task}: remove {out / f'eval-{task}.json'} and run again"
        )
    return found[:: max(1, len(found) // SHOWN)][:SHOWN]


def _picture(path: Path) -> str:
    """A picture file as a data URL, as JPEG: it is a photograph of sorts."""
    try:
        with Image.open(path) as image:
            return _jpeg(image.convert("RGB"))
    except OSError as error:
        raise FastnasError(f"cannot read the picture {path}: {error}") from error


def _frames(video: Path) -> list[str]:
    """Frames of a video, evenly spread."""
    import cv2

    capture = cv2.VideoCapture(str(video))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    if not frames:
        raise FastnasError(f"{video} has no pictures: remove it and run the demo again")
    chosen = [frames[round(i * (len(frames) - 1) / max(1, SHOWN - 1))] for i in range(SHOWN)]
    return [_jpeg(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))) for frame in chosen]


def _jpeg(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return _source("image/jpeg", file.getvalue())


def _source(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
