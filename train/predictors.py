"""What can be evaluated: a model file, or the very artifact that runs on a device, both as a `Predictor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastnas.data.transforms import denormalise
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import load_model
from fastnas.normalisation import Normalisation
from fastnas.tasks import Task, task_from_dict
from fastnas.train.evaluate import Predictor

POSE_SIZE = (256, 256)
"""Input (H, W) of a pose network that does not say what it was trained for."""


@dataclass(frozen=True)
class OpenPredictor:
    """A predictor and what its images must be.

    Attributes:
        task: what it predicts.
        predict: images to logits.
        size: input (H, W) of people's crops, as it was trained for.
        normalisation: of the images.
    """

    task: Task
    predict: Predictor
    size: tuple[int, int]
    normalisation: Normalisation


@contextmanager
def open_predictor(path: Path, precision: str, device: torch.device) -> Iterator[OpenPredictor]:
    """A model file, or the folder of an artifact in one of its precisions; its engines are closed at the end.

    Raises:
        FastnasError: it is neither, is damaged, or lacks that precision.
    """
    with ExitStack() as engines:
        yield _artifact(path, precision, engines) if path.is_dir() else _model(path, precision, device)


def _model(path: Path, precision: str, device: torch.device) -> OpenPredictor:
    if precision != "fp32":
        raise FastnasError(
            f"{path} is a model file, which is evaluated in fp32: {precision} needs an artifact's folder"
        )
    model = load_model(path)
    recipe = model.header.get("recipe") or {}
    network = model.network.to(device).to(memory_format=torch.channels_last).requires_grad_(False)
    size = tuple(recipe.get("val_size", POSE_SIZE))
    return OpenPredictor(model.spec.task, network, size, network.encoder.normalisation)


def _artifact(folder: Path, precision: str, engines: ExitStack) -> OpenPredictor:
    """Images go through the device's engine one by one; an engine is opened for each of their sizes."""
    from fastnas.jetson.engine.base import Engine
    from fastnas.jetson.engine.opening import open_engine
    from fastnas.jetson.sidecar import load

    artifact = load(str(folder))
    sidecar = artifact.sidecar
    if sidecar.output.decode == "peaks":
        raise FastnasError(f"{folder} gives joints, and metrics need heatmaps: evaluate one exported with --head plain")
    task = task_from_dict(sidecar.task)
    (r, g, b), (x, y, z) = sidecar.input.mean, sidecar.input.std
    normalisation = Normalisation((r, g, b), (x, y, z))
    by_size: dict[tuple[int, int], Engine] = {}

    def one(image: Tensor) -> Tensor:
        size = (image.shape[1], image.shape[2])
        if size not in by_size:
            by_size[size] = engines.enter_context(open_engine(artifact, size, precision))
        engine = by_size[size]
        if sidecar.input.layout == "NHWC":
            image = denormalise(image, normalisation).permute(1, 2, 0)
        engine.input[...] = image.cpu().numpy()[None]
        output = torch.from_numpy(engine.run().copy())
        if sidecar.output.decode == "labels":
            return torch.nn.functional.one_hot(output[0].long(), task.outputs).permute(2, 0, 1)
        return output[0]

    def predict(images: Tensor) -> Tensor:
        return torch.stack([one(image) for image in images]).to(images.device)

    return OpenPredictor(task, predict, sidecar.input_size or POSE_SIZE, normalisation)
