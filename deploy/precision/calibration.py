"""Real images for reduced precision: those that set the ranges of INT8, and those that the result is validated on.

Shapes: images [1, 3, H, W], normalised as the network takes them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from fastnas.data.images import IMAGE_SUFFIXES, image_files, read_image
from fastnas.errors import FastnasError
from fastnas.models.network import Network

CALIBRATE, VALIDATE = 32, 4
"""How many images are read at most for each purpose; more cost time and change little."""


def read_images(folder: Path, network: Network, size: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
    """Images of a folder, evenly spread over its names: some to calibrate with and others to validate on.

    Args:
        folder: images such as the camera will see; sub-folders are not read.
        network: whose normalisation is applied.
        size: H, W to which each image is scaled, its centre cut out where the aspect ratios differ.

    Raises:
        FastnasError: the folder is missing, has no images, or an image is damaged.
    """
    if not folder.is_dir():
        raise FastnasError(f"--calibrate: {folder} is not a folder")
    paths = image_files(folder)
    if not paths:
        raise FastnasError(
            f"--calibrate: {folder} has no images ({', '.join(IMAGE_SUFFIXES)}); name a folder with tens of images "
            "such as the camera will see"
        )
    wanted = min(len(paths), CALIBRATE + VALIDATE)
    images = [_prepare(paths[i * len(paths) // wanted], network, size) for i in range(wanted)]
    share = max(1, wanted * VALIDATE // (CALIBRATE + VALIDATE))
    validate = [i * wanted // share for i in range(share)]
    calibrate = [image for i, image in enumerate(images) if i not in validate]
    return calibrate or images, [images[i] for i in validate]


def _prepare(path: Path, network: Network, size: tuple[int, int]) -> Tensor:
    image = read_image(path)
    scale = max(size[0] / image.shape[1], size[1] / image.shape[2])
    larger = [max(side, round(scale * old)) for side, old in zip(size, image.shape[1:], strict=True)]
    image = F.center_crop(F.resize(image, larger, antialias=True), list(size))
    mean, std = list(network.encoder.mean), list(network.encoder.std)
    prepared: Tensor = F.normalize(F.to_dtype(image, torch.float32, scale=True), mean, std)
    return prepared.as_subclass(Tensor)[None]
