"""A teacher's logits for the crops of stage 1, computed at the scale that the teacher was trained for.

Stage 1 trains on small crops of reduced images. A teacher of full training was trained on images at about their own
resolution (recipes scale them by factors around 1), or on people of a fixed height, and is much worse on images several
times smaller. So it is shown what is in the crop at its own scale, and its logits are brought to the crop's.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from fastnas import shelf
from fastnas.data.base import DenseDataset
from fastnas.data.transforms import to_network, warp
from fastnas.models.header import read_header
from fastnas.normalisation import Normalisation
from fastnas.tasks import Depth, Pose
from fastnas.train.evaluate import Predictor
from fastnas.train.predictors import POSE_SIZE
from fastnas.train.teacher import load_teacher

MULTIPLE = 32
"""The sides of what a teacher sees are multiples of the largest stride of an encoder."""


class ScaledTeacher:
    """A teacher at its own scale.

    Args:
        source: as `load_teacher` takes it.
        data: the images.
        crop: side of the crops, in pixels.
        short_side: shorter side of the images that they are cut from.
        normalisation: of the encoder that is searched for.
        device: where the teacher computes.

    Raises:
        FastnasError: there is no such teacher, or it does not fit the task or images of that size.
    """

    def __init__(
        self,
        source: str,
        data: DenseDataset,
        crop: int,
        short_side: int,
        normalisation: Normalisation,
        device: torch.device,
    ) -> None:
        self.task, self.crop, self.device = data.task, crop, device
        self.height = _height(source) if isinstance(data.task, Pose) else None
        self.to_network = v2.Compose(to_network(normalisation))
        side = self.side(min(data[0]["image"].shape[-2:]) / short_side)
        self.teacher: Predictor = load_teacher(source, data.task, device, (side, side), normalisation)

    def side(self, pixels: float) -> int:
        """The side of what the teacher sees of a crop, one of whose pixels is `pixels` of the image wide."""
        exact = self.crop * pixels if self.height is None else self.height
        return max(MULTIPLE, round(exact / MULTIPLE) * MULTIPLE)

    def __call__(self, image: Tensor, to_image: Tensor) -> Tensor:
        """Logits [1, K, h, w] for a crop, at the teacher's resolution.

        Args:
            image: the whole image, uint8 [3, H, W].
            to_image: from the crop's pixels to the image's, [2, 3], as `warp` leaves it.
        """
        matrix = np.vstack([to_image.double().numpy(), [0, 0, 1]])
        side = self.side(math.sqrt(abs(float(np.linalg.det(matrix)))))
        step = self.crop / side  # of the crop's pixels to one of the teacher's, the edges of both at the same place
        to_crop = np.array([[step, 0, (step - 1) / 2], [0, step, (step - 1) / 2], [0, 0, 1]])
        view = self.to_network(warp({"image": image}, np.linalg.inv(matrix @ to_crop), (side, side)))["image"]
        with torch.inference_mode():
            logits = self.teacher(view.as_subclass(Tensor)[None].to(self.device))
        # What is enlarged seems as much nearer (see ScaleCrop).
        return logits / step if isinstance(self.task, Depth) else logits


def _height(source: str) -> int:
    """The height of people's crops that a teacher was trained for."""
    path = shelf.resolve(source)
    recipe = (read_header(Path(path)).get("recipe") or {}) if path.endswith(".safetensors") else {}
    return int(recipe.get("val_size", POSE_SIZE)[0])
