"""An encoder that has seen Pascal VOC and COCO: the MobileNet-v2 of TensorFlow's DeepLab-v3, from its int8 file.

    python weights/training/encoder.py deeplabv3_mnv2_pascal_quant.tflite IMAGES... --out encoder.safetensors

The file gives weights with folded batch norm, for images from -1 to 1. They become weights for images normalised by
ImageNet's statistics, and batch norms with the mean and the variance that each convolution has on IMAGES, so that
training can go on: in evaluation the network computes what the file's does. The teacher's last blocks are dilated
instead of strided; ours computes the same values at every second place.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn

from fastnas.models.encoder import make_encoder
from fastnas.normalisation import IMAGENET

SIDE = 513
"""The side of the images that the statistics are of, as the teacher sees them."""


def main() -> None:
    """Read the weights, take the statistics, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    network = make_encoder("mobilenet_v2").eval()
    pairs = list(_convolutions(network))
    for (convolution, norm), (weight, bias) in zip(pairs, read_convolutions(given.teacher), strict=False):
        convolution.weight.data.copy_(weight)
        norm.weight.data.fill_(1)
        norm.bias.data.copy_(bias)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
    _renormalise(pairs[0])
    measure_norms(network, pairs, given.images)
    save_file(network.state_dict(), str(given.out))


def read_convolutions(path: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight [out, in / groups, k, k] and bias [out] of every convolution, in the order in which they run."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    about: dict[int, dict[str, Any]] = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}

    def values(index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        factor, zero = about[index]["quantization"]
        return np.float32(factor) * (interpreter.get_tensor(index).astype(np.float32) - np.float32(zero))

    for operation in interpreter._get_ops_details():
        if operation["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            _, weight, bias = operation["inputs"]
            # Stored [out, k, k, in], or [1, k, k, out] of a depthwise one.
            order = (0, 3, 1, 2) if operation["op_name"] == "CONV_2D" else (3, 0, 1, 2)
            yield torch.from_numpy(values(weight).transpose(order).copy()), torch.from_numpy(values(bias))


def measure_norms(network: nn.Module, pairs: list[tuple[Any, Any]], images: list[Path]) -> None:
    """Give each batch norm the statistics of its convolution on the images; the network's function stays."""
    sums = [torch.zeros(2, norm.num_features, dtype=torch.float64) for _, norm in pairs]
    hooks = [
        convolution.register_forward_hook(lambda _module, _inputs, output, total=total: _add(total, output))
        for (convolution, _), total in zip(pairs, sums, strict=True)
    ]
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    with torch.inference_mode():
        for path in track(images, "statistics"):
            pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            scale = SIDE / max(pixels.shape[:2])
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale)
            network(((torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std)[None])
    for hook in hooks:
        hook.remove()
    for (_, norm), total in zip(pairs, sums, strict=True):
        average, square = total / len(images)
        variance = (square - average**2).clamp(min=0)
        norm.running_mean.copy_(average)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.add_(average.float())


def _add(total: Tensor, output: Tensor) -> None:
    total += torch.stack([output.mean((0, 2, 3)), output.square().mean((0, 2, 3))])


def _convolutions(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Each convolution with the batch norm behind it, in order."""
    modules = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))]
    yield from zip(modules[::2], modules[1::2], strict=True)


def _renormalise(first: tuple[Any, Any]) -> None:
    """The first convolution, made for (v - 128) / 128 of pixel values v, for ImageNet's normalisation."""
    convolution, norm = first
    mean, std = (torch.tensor(values) for values in IMAGENET)
    norm.bias.data.add_((convolution.weight.data.sum((2, 3)) * ((255 * mean - 128) / 128)).sum(1))
    convolution.weight.data.mul_((255 * std / 128)[None, :, None, None])


if __name__ == "__main__":
    main()
