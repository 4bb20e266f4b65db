"""What can be evaluated: a model file, or the very artifact that runs on a device, both as a `Predictor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastnas.data.transforms import denormalise
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import load_model
from fastnas.tasks import Task, task_from_dict
from fastnas.train.evaluate import Predictor


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        task: what it predicts.
        predict: normalised images to logits.
        size: input (H, W) of people's crops, as it was trained with.
    """

    task: Task
    predict: Predictor
    size: tuple[int, int]


def open_subject(path: Path, precision: str, device: torch.device) -> Subject:
    """A model file, or the folder of an artifact in one of its precisions.

    Raises:
        FastnasError: it is neither, is damaged, or lacks that precision.
    """
    if path.is_dir():
        return _artifact(path, precision)
    if precision != "fp32":
        raise FastnasError(
            f"{path} is a model file, which is evaluated in fp32: {precision} needs an artifact's folder"
        )
    model = load_model(path)
    recipe = model.header.get("recipe") or {}
    network = model.network.to(device).to(memory_format=torch.channels_last).requires_grad_(False)
    return Subject(model.spec.task, network, tuple(recipe.get("val_size", (256, 256))))


def _artifact(folder: Path, precision: str) -> Subject:
    """Pictures go through the device's engine one by one; an engine is opened for each of their sizes."""
    from fastnas.jetson.engine.base import Engine
    from fastnas.jetson.engine.opening import open_engine
    from fastnas.jetson.errors import JetsonError
    from fastnas.jetson.sidecar import load

    try:
        artifact = load(str(folder))
    except JetsonError as error:
        raise FastnasError(str(error)) from error
    if artifact.sidecar.output.decode == "peaks":
        raise FastnasError(f"{folder} gives joints, and metrics need heatmaps: evaluate one exported with --head plain")
    task = task_from_dict(artifact.sidecar.task)
    engines: dict[tuple[int, int], Engine] = {}

    def one(image: Tensor) -> Tensor:
        size = (image.shape[1], image.shape[2])
        try:
            if size not in engines:
                engines[size] = open_engine(artifact, size, precision)
            engine = engines[size]
            nchw = artifact.sidecar.input.layout == "NCHW"
            engine.input[...] = (image if nchw else denormalise(image).permute(1, 2, 0)).cpu().numpy()[None]
            output = torch.from_numpy(engine.run().copy())
        except JetsonError as error:
            raise FastnasError(str(error)) from error
        if artifact.sidecar.output.decode == "labels":
            return torch.nn.functional.one_hot(output[0].long(), task.outputs).permute(2, 0, 1)
        return output[0]

    def predict(images: Tensor) -> Tensor:
        return torch.stack([one(image) for image in images]).to(images.device)

    return Subject(task, predict, (256, 256))
