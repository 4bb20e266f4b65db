"""What drawing and encoding a frame cost: with legend and scale drawn each time, as kept, and while nobody watches.

    python benchmarks/camera_overlay.py --size 1280x720 --classes 21

Classes and depth are of noise, so that every class is in the legend. `--rounds` of `--frames` frames of both
kinds alternate, so that a machine that gets busy slows both; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from fastnas.jetson.camera.web.broadcast import QUALITY, Broadcast
from fastnas.jetson.inference import draw as drawing


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


class Anew:
    """Instead of a stamp that is kept: paints onto every frame."""

    def __init__(self, size: object, box: Any, paint: Callable[[np.ndarray], None]) -> None:
        self._box, self._paint = box, paint

    def put(self, canvas: np.ndarray) -> None:
        drawing._shade(canvas, self._box)
        self._paint(canvas)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1280x720", help="of the frames, WIDTHxHEIGHT")
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    random = np.random.default_rng(0)
    frame = cv2.resize(random.integers(0, 255, (height // 8, width // 8, 3), np.uint8), (width, height))
    small = (height // 8, width // 8)
    ids = random.integers(0, options.classes, small).astype(np.uint8)
    metres = random.uniform(0.5, 10, small).astype(np.float32)
    names = [f"class number {number}" for number in range(options.classes)]
    colours = random.integers(0, 255, (options.classes, 3)).tolist()
    tasks: dict[str, Any] = {
        "segmentation": {"classes": names, "colours": colours},
        "depth": {"minimum": 0.5, "maximum": 10.0},
    }
    broadcast, stamp = Broadcast(1), drawing._stamp

    def keep(kept: bool) -> None:
        drawing._stamp = stamp if kept else Anew  # type: ignore[assignment,misc]
        drawing._legend.cache_clear()
        drawing._scale.cache_clear()
        drawing.draw(frame, tasks, ids, metres)

    ways: dict[str, Callable[[], object]] = {
        "nobody watches": broadcast.wants,
        "classes": lambda: drawing.draw(frame, tasks, ids),
        "classes and depth": lambda: drawing.draw(frame, tasks, ids, metres),
        "JPEG of the classes": lambda: cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]),
    }
    image = drawing.draw(frame, tasks, ids)
    times: dict[tuple[str, bool], list[float]] = {}
    for _ in range(options.rounds):
        for kept in (False, True):
            keep(kept)
            for _ in range(options.frames):
                for name, work in ways.items():
                    times.setdefault((name, kept), []).append(milliseconds(work))
    print("median ms of a frame    legend and scale anew      kept")
    for name in ways:
        anew, kept_one = (statistics.median(times[name, kept]) for kept in (False, True))
        print(f"{name:24}{anew:21.3f}{kept_one:10.3f}")


if __name__ == "__main__":
    main()
