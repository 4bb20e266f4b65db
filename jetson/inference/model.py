"""Networks for single images of any size, by name: what a program uses that has images and wants results.

import fastnas

with fastnas.load("street") as model:           # fastnas.jetson.load on a board: the same
result = model("image.jpg")
result.segmentation                         # class ids, uint8 [H, W]
result.save("results", "image")
"""

import json
import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from fastnas.jetson import shelf
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.files import write_text
from fastnas.jetson.inference.predictions import Box, Predictions
from fastnas.jetson.inference.predictor import DEFAULTS, InferenceOptions, Predictor, by_task, size_of, tasks_of
from fastnas.jetson.inference.results import Person, coco, write_depth, write_ids, write_image
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.sidecar import Artifact, Size
from fastnas.jetson.system.opencv import import_cv2

Image = Union[str, "os.PathLike[str]", np.ndarray, Any]

MOST_OPEN = 8
"""Input sizes for which engines stay open; then all are closed, for CUDA contexts are a stack."""

FOLDERS = {"segmentation": "masks", "depth": "depth", "pose": "joints", "overlay": "overlays"}
"""Where results are saved, by kind."""


class Result:
    """What is predicted for one image, in its pixels.

    Attributes:
        tasks: by kind, with the names of classes or joints, as in the artifact's sidecar.
        segmentation: class ids, uint8 [H, W]; None without that task.
        depth: metres, float32 [H, W]; None without that task.
        pose: joints, float32 [J, 3] of (x, y, score); None without that task, or where nobody was found.
        milliseconds: inference time.
    """

    def __init__(self, frame: np.ndarray, predictions: Predictions, tasks: Dict[str, Dict[str, Any]]) -> None:
        self.tasks = tasks
        self.pose, self.milliseconds = predictions.pose, predictions.milliseconds
        self.segmentation: Optional[np.ndarray] = None
        self.depth: Optional[np.ndarray] = None
        self._frame, self._predictions = frame, predictions
        size = frame.shape[:2]
        if predictions.segmentation is not None:
            self.segmentation = nearest(predictions.segmentation, size)
        if predictions.depth is not None:
            cv2 = import_cv2()
            self.depth = cv2.resize(predictions.depth, size[::-1], interpolation=cv2.INTER_LINEAR)

    def draw(self, alpha: float = 0.5) -> np.ndarray:
        """The predictions drawn on the image, uint8 RGB; depth is beside or below it."""
        return np.ascontiguousarray(self.overlay(alpha)[..., ::-1])

    def overlay(self, alpha: float = 0.5) -> np.ndarray:
        """Likewise, in OpenCV's channel order."""
        from fastnas.jetson.inference.draw import draw

        found = self._predictions
        return draw(self._frame, self.tasks, found.segmentation, found.depth, found.pose, found.box, alpha)

    def save(self, folder: Union[str, "os.PathLike[str]"], name: str = "image", overlay: bool = True) -> List[str]:
        """Write everything into folders in a folder, replacing what is there, and return the paths.

        `masks/NAME.png` has class ids, with a palette; `depth/NAME.png` millimetres, 16 bits; `joints/NAME.json` joints
        in COCO's format; `overlays/NAME.jpg` the drawing.

        Args:
            folder: is made where it is missing.
            name: of the files; may have folders in it.
            overlay: whether to write the drawing too.
        """
        paths = self.save_maps(folder, name, overlay)
        if self.pose is not None:
            path = _path(folder, "pose", name + ".json")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_text(path, json.dumps(coco([self.person(name)], self.tasks["pose"])) + "\n")
            paths.append(path)
        return paths

    def save_maps(self, folder: Union[str, "os.PathLike[str]"], name: str, overlay: bool) -> List[str]:
        """Write all but the joints; see `save`."""
        paths = []
        if self.segmentation is not None:
            paths.append(_path(folder, "segmentation", name + ".png"))
            write_ids(paths[-1], self.segmentation, self.tasks["segmentation"]["colours"])
        if self.depth is not None:
            paths.append(_path(folder, "depth", name + ".png"))
            write_depth(paths[-1], self.depth)
        if overlay:
            paths.append(_path(folder, "overlay", name + ".jpg"))
            write_image(paths[-1], self.overlay())
        return paths

    def person(self, name: str) -> Person:
        """The joints, none where nobody was found, with the image's name and size."""
        height, width = self._frame.shape[:2]
        return Person(name, (height, width), np.zeros((0, 3), np.float32) if self.pose is None else self.pose)


class Model:
    """Networks of one or several tasks for images of any size. All calls come from one thread; a context manager.

    Args:
        artifacts: one of each task.
        options: how they are run.
        log: receives a line for each engine that is opened, and what takes long.

    Attributes:
        name: of the artifacts.
        tasks: by kind, as in the sidecars.
    """

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        options: InferenceOptions = DEFAULTS,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._artifacts = by_task(artifacts)
        self.name = " + ".join(artifact.sidecar.name for artifact in artifacts)
        self.tasks = tasks_of(self._artifacts)
        self._options, self._log = options._replace(fine=True), log
        self._open: Dict[Tuple[Size, ...], Predictor] = {}

    def __call__(self, image: Image, box: Optional[Tuple[float, float, float, float]] = None) -> Result:
        """The predictions for an image.

        Args:
            image: a path; a Pillow image; or an array, uint8 RGB [H, W, 3] (OpenCV's own order is B, G, R: reverse it).
            box: of the person of a pose network, as x, y, width and height in pixels; None is the whole image.

        Raises:
            JetsonError: it is no image.
        """
        x, y, width, height = box or (0, 0, 0, 0)
        return self.predict(read(image), Box(x, y, x + width, y + height) if box else None)

    def predict(self, frame: np.ndarray, box: Optional[Box] = None, tracked: bool = False) -> Result:
        """The predictions for a frame, uint8 [H, W, 3] in OpenCV's channel order.

        Args:
            frame: the image.
            box: of the person of a pose network.
            tracked: whether the frame follows the last one, in which the person was.
        """
        predictor = self._predictor(frame.shape[:2])
        if not tracked:
            predictor.reset(box)
        return Result(frame, predictor(frame), self.tasks)

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Free the engines, the last first."""
        while self._open:
            self._open.popitem()[1].close()

    def _predictor(self, frame: Size) -> Predictor:
        """The predictor for frames of size (H, W), opened now if it is not."""
        options = self._options
        key = tuple(size_of(artifact, options, frame) for artifact in self._artifacts.values())
        if key not in self._open:
            if len(self._open) == MOST_OPEN:
                self.close()
            self._open[key] = Predictor(self._artifacts, frame, options, self._log)
        return self._open[key]


def load(
    *names: str,
    res: Optional[Size] = None,
    precision: Optional[str] = None,
    engine: str = "auto",
    threads: int = 0,
    log: Callable[[str], None] = lambda line: None,
) -> Model:
    """Networks by name, for images.

    Args:
        names: each a name of a trained network (`street`), the folder of an artifact or, on a host, a model file; one
            of each task.
        res: input (H, W) of the networks; by default the artifact's, else of the image's aspect ratio, 512 at most.
        precision: `fp32`, `fp16` or `int8`; by default fp16 in TensorRT, else fp32.
        engine: `auto`, `tensorrt`, `onnxruntime`, `onnxruntime-cuda` or `onnxruntime-tensorrt`.
        threads: of ONNX Runtime on a CPU; 0 is its own choice.
        log: receives lines about what takes long.

    Raises:
        JetsonError: there is no such network, or two are of one task.
    """
    options = InferenceOptions(res, res, precision, EngineOptions(engine, threads))
    return Model([shelf.open_artifact(os.fspath(name), log) for name in names or [shelf.default()]], options, log)


def read(image: Image) -> np.ndarray:
    """An image as `Model` takes it, as uint8 [H, W, 3] in OpenCV's channel order.

    Raises:
        JetsonError: it is none.
    """
    if isinstance(image, (str, os.PathLike)):
        frame = import_cv2().imread(os.fspath(image))
        if frame is None:
            raise JetsonError("cannot read {} as an image".format(os.fspath(image)))
        return frame
    array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        what = "{} {}".format(array.dtype, list(array.shape))
        raise JetsonError("an image is a path, a Pillow image, or an array, uint8 RGB [H, W, 3], not {}".format(what))
    return np.ascontiguousarray(array[..., ::-1])


def nearest(ids: np.ndarray, size: Size) -> np.ndarray:
    """Class ids [h, w] at another size (H, W): each pixel has the id of the one that its centre lies in."""
    rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, ids.shape))
    return ids[rows[:, None], columns]


def _path(folder: Union[str, "os.PathLike[str]"], kind: str, name: str) -> str:
    return os.path.join(os.fspath(folder), FOLDERS[kind], name)
