"""What can be evaluated: a model file, or the very artifact that runs on a device, both as a `Predictor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastnas.data.transforms import denormalise
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import load_model
from fastnas.models.zoo import PAPER
from fastnas.normalisation import Normalisation
from fastnas.tasks import Multi, Pose, SingleTask, channels_of, task_from_dict, tasks_of
from fastnas.train.evaluate import Predictor

if TYPE_CHECKING:
    from fastnas.jetson.sidecar import Sidecar

POSE_SIZE = (256, 256)
"""Input (H, W) of a pose network that does not say what it was trained for."""


@dataclass(frozen=True)
class OpenPredictor:
    """A predictor of one task and what its images must be.

    Attributes:
        task: what it predicts.
        predict: images to logits.
        size: input (H, W) of people's crops, as it was trained for; None for a network that takes whole images.
        normalisation: of the images.
        architecture: its name.
    """

    task: SingleTask
    predict: Predictor
    size: tuple[int, int] | None
    normalisation: Normalisation
    architecture: str


@contextmanager
def open_predictors(path: Path, precision: str, device: torch.device) -> Iterator[dict[str, OpenPredictor]]:
    """A predictor for each kind of task of a model file, or of the folder of an artifact in one of its precisions.

    Its engines are closed at the end.

    Raises:
        FastnasError: it is neither, is damaged, or lacks that precision.
    """
    with ExitStack() as engines:
        found = _artifact(path, precision, engines) if path.is_dir() else _model(path, precision, device)
        yield {opened.task.kind: opened for opened in found}


def _model(path: Path, precision: str, device: torch.device) -> list[OpenPredictor]:
    if precision != "fp32":
        raise FastnasError(
            f"{path} is a model file, which is evaluated in fp32: {precision} needs an artifact's folder"
        )
    model = load_model(path)
    task, recipe = model.spec.task, model.header.get("recipe") or {}
    network = model.network.to(device).to(memory_format=torch.channels_last).requires_grad_(False)
    size = tuple(recipe.get("val_size", POSE_SIZE)) if isinstance(task, Pose) else None

    def part(channels: slice) -> Predictor:
        return lambda images: network(images)[:, channels]

    return [
        OpenPredictor(
            each, part(channels_of(task)[each.kind]), size, network.encoder.normalisation, model.spec.architecture
        )
        for each in tasks_of(task)
    ]


def crop_size(sidecar: Sidecar) -> tuple[int, int] | None:
    """Input (H, W) of people's crops for an artifact; None where it takes whole images."""
    return (sidecar.input_size or POSE_SIZE) if sidecar.crops_people else None


def _artifact(folder: Path, precision: str, engines: ExitStack) -> list[OpenPredictor]:
    """Images go through the device's engine one by one; an engine is opened for each of their sizes."""
    from fastnas.jetson.engine.base import Engine
    from fastnas.jetson.engine.opening import open_engine
    from fastnas.jetson.sidecar import Output, load

    artifact = load(str(folder))
    sidecar = artifact.sidecar
    (r, g, b), (x, y, z) = sidecar.input.mean, sidecar.input.std
    normalisation = Normalisation((r, g, b), (x, y, z))
    by_size: dict[tuple[int, int], Engine] = {}

    def run(image: Tensor, output: Output) -> Tensor:
        size = (image.shape[1], image.shape[2])
        if size not in by_size:
            by_size[size] = engines.enter_context(open_engine(artifact, size, precision))
        engine = by_size[size]
        if sidecar.input.layout == "NHWC":
            image = denormalise(image, normalisation).permute(1, 2, 0)
        engine.input[...] = image.cpu().numpy()[None]
        found = torch.from_numpy(engine.run()[output.name].copy())[0]
        if output.decode == "labels":
            return torch.nn.functional.one_hot(found.long(), output.channels).permute(2, 0, 1)
        return found

    def part(output: Output) -> Predictor:
        def predict(images: Tensor) -> Tensor:
            if output.decode == "peaks":
                raise FastnasError(
                    f"{folder} gives joints, and metrics need heatmaps: evaluate one exported with --head plain"
                )
            return torch.stack([run(image, output) for image in images]).to(images.device)

        return predict

    tasks = [(task_from_dict(output.task), output) for output in sidecar.outputs]
    architecture = next((name for name, text in PAPER.items() if text == sidecar.genotype), sidecar.name)
    return [
        OpenPredictor(task, part(output), crop_size(sidecar), normalisation, architecture)
        for task, output in tasks
        if not isinstance(task, Multi)
    ]
