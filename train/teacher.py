"""Teachers for knowledge distillation: a model file, torchvision's segmentation models, or an ONNX file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from fastnas import shelf
from fastnas.errors import FastnasError, import_extra
from fastnas.models.pretrained import downloaded, torchvision_file
from fastnas.normalisation import IMAGENET, Normalisation
from fastnas.tasks import Task
from fastnas.train.evaluate import Predictor


def load_teacher(
    source: str,
    task: Task,
    device: torch.device,
    size: tuple[int, int],
    normalisation: Normalisation = IMAGENET,
) -> Predictor:
    """A function from the student's images [N, 3, H, W] to logits [N, K, h, w].

    Args:
        source: `MODEL.safetensors`, or a name of the shelf; `torchvision/NAME` with that library's own weights; or
            `MODEL.onnx`, whose input is the image with ImageNet's normalisation and whose first output the logits.
        task: the teacher must have as many outputs.
        device: where the images are.
        size: (H, W) of the training crops, tried on a blank image.
        normalisation: of the images; a teacher that was trained with another one gets them converted.

    Raises:
        FastnasError: there is no such teacher, it has another number of outputs, or does not take such images.
    """
    own, source = IMAGENET, shelf.resolve(source)
    if source.endswith(".safetensors"):
        from fastnas.models.checkpoint import load_model

        model = load_model(source)
        if model.spec.task != task:
            raise FastnasError(
                f"teacher {source} has another task: {model.spec.task.kind}, {model.spec.task.outputs} outputs"
            )
        teacher: Predictor = _frozen(model.network, device)
        own = model.network.encoder.normalisation
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
