"""Teachers for knowledge distillation: a model file, torchvision's segmentation models, or an ONNX file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastnas import shelf
from fastnas.errors import FastnasError, import_extra
from fastnas.models.pretrained import downloaded, torchvision_file
from fastnas.normalisation import IMAGENET, Normalisation
from fastnas.tasks import Multi, Task, channels_of, tasks_of
from fastnas.tasks.base import upsample
from fastnas.train.evaluate import Predictor


def load_teacher(
    source: str,
    task: Task,
    device: torch.device,
    size: tuple[int, int],
    normalisation: Normalisation = IMAGENET,
) -> Predictor:
    """A function from the student's images [N, 3, H, W] to logits [N, K, h, w], NaN for channels that it does not know.

    Args:
        source: `MODEL.safetensors`, or a name of the shelf; `torchvision/NAME` with that library's own weights; or
            `MODEL.onnx`, whose input is the image with ImageNet's normalisation and whose first output the logits. For
            several tasks one or more model files, with commas between, that each know some of them.
        task: the teacher must have as many outputs.
        device: where the images are.
        size: (H, W) of the training crops, tried on a blank image.
        normalisation: of the images; a teacher that was trained with another one gets them converted.

    Raises:
        FastnasError: there is no such teacher, it has another number of outputs, or does not take such images.
    """
    if isinstance(task, Multi):
        return _several([_model(text, device, normalisation) for text in source.split(",")], task)
    own, source = IMAGENET, shelf.resolve(source)
    if source.endswith(".safetensors"):
        name, known, teacher = _model(source, device, normalisation)
        if known != task:
            raise FastnasError(f"teacher {name} has another task: {known.kind}, {known.outputs} outputs")
        own = normalisation
    elif source.startswith("torchvision/"):
        teacher = _torchvision(source.removeprefix("torchvision/"), device)
    elif source.endswith(".onnx"):
        teacher = _onnx(Path(source))
    else:
        raise FastnasError(f"teacher {source!r} is not a .safetensors or .onnx file, nor torchvision/NAME")
    if own != normalisation:
        teacher = _converted(teacher, normalisation, own, device)
    with torch.inference_mode():
        logits = teacher(torch.zeros(1, 3, *size, device=device))
    if logits.ndim != 4 or logits.shape[1] != task.outputs:
        raise FastnasError(
            f"teacher {source} gives {list(logits.shape)} for one image, but the task needs [1, {task.outputs}, h, w]"
        )
    return teacher


class _Model(NamedTuple):
    """A model file as a teacher: its name, its task, and what it makes of the student's images."""

    name: str
    task: Task
    predict: Predictor


def _model(source: str, device: torch.device, normalisation: Normalisation) -> _Model:
    from fastnas.models.checkpoint import load_model

    model = load_model(shelf.resolve(source))
    teacher: Predictor = _frozen(model.network, device)
    own = model.network.encoder.normalisation
    converted = teacher if own == normalisation else _converted(teacher, normalisation, own, device)
    return _Model(source, model.spec.task, converted)


def _several(teachers: Sequence[_Model], task: Multi) -> Predictor:
    """The teachers together, each for those of the tasks that it shares; a later one goes before an earlier one."""
    channels = channels_of(task)
    shared = [[each for each in tasks_of(teacher.task) if each in task.tasks] for teacher in teachers]
    for teacher, tasks in zip(teachers, shared, strict=True):
        if not tasks:
            has = f"{teacher.task.kind} with {teacher.task.outputs} outputs"
            raise FastnasError(f"teacher {teacher.name} has no task of the network: {has}")

    def run(images: Tensor) -> Tensor:
        found = [teacher.predict(images).float() for teacher in teachers]
        height, width = (max(logits.shape[axis] for logits in found) for axis in (2, 3))
        total = images.new_full((len(images), task.outputs, height, width), math.nan)
        for teacher, tasks, logits in zip(teachers, shared, found, strict=True):
            large, own = upsample(logits, (height, width)), channels_of(teacher.task)
            for each in tasks:
                total[:, channels[each.kind]] = large[:, own[each.kind]]
        return total

    return run


def _frozen(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).eval().requires_grad_(False)


def _converted(teacher: Predictor, given: Normalisation, own: Normalisation, device: torch.device) -> Predictor:
    """The teacher on images of another normalisation than its own."""
    scale, shift = (torch.tensor(values, device=device)[:, None, None] for values in given.conversion(own))
    return lambda images: teacher(images * scale + shift)


def _torchvision(name: str, device: torch.device) -> Predictor:
    from torchvision.models import get_model, get_model_weights, list_models, segmentation

    if name not in list_models(module=segmentation):
        raise FastnasError(
            f"torchvision has no segmentation model {name!r}: {', '.join(list_models(module=segmentation))}"
        )
    file = torchvision_file(get_model_weights(name)["DEFAULT"].url)
    make = partial(get_model, name, weights="DEFAULT")
    network = _frozen(downloaded(f"torchvision/{name}", make, file, "give a file with --teacher"), device)
    return lambda images: network(images)["out"]


def _onnx(path: Path) -> Predictor:
    onnxruntime = import_extra("onnxruntime", "cpu")
    if not path.is_file():
        raise FastnasError(f"no teacher {path}")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime's exceptions have no common class
        raise FastnasError(f"teacher {path} is not a model that ONNX Runtime opens: {error}") from error
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor:
        try:
            (first, *_) = session.run(None, {name: images.cpu().float().contiguous().numpy()})
        except Exception as error:
            raise FastnasError(f"teacher {path} does not take images {list(images.shape)}: {error}") from error
        return torch.from_numpy(first).to(images.device)

    return run
