"""From a dataset's sample to the network's input: geometry, normalisation, batches.

Every geometric change is one affine matrix, and `warp` alone moves a sample by it: image, mask, depth, keypoints and
box together, each sampled once. The transforms below only choose the matrix; they are `torchvision.transforms.v2`
transforms and, like those, sample from torch's global random state.

Coordinates: the centre of the pixel in column x and row y is (x, y), so keypoints live in [-0.5, W - 0.5]; boxes are
measured on pixel edges, in [0, W], as torchvision has both. Matrices are float64 [3, 3] and map (x, y, 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from fastnas.errors import FastnasError
from fastnas.normalisation import IMAGENET, Normalisation
from fastnas.tasks import IGNORE, Multi, Pose, Task

Tensors = dict[str, Any]
"""A `fastnas.data.base.Sample` on its way through the transforms, or a batch of them."""

Matrix = np.ndarray[Any, np.dtype[np.float64]]

TEACHER_STRIDE = 4
"""Pixels of a crop per cell of a teacher's outputs, as of most decoders."""


def train_transform(
    task: Task,
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (0.5, 2.0),
    rotation: float = 0.0,
    mirror: bool = True,
    depth_by_zoom: bool = True,
    normalisation: Normalisation = IMAGENET,
) -> v2.Transform:
    """The random transform of training samples, to `size` (H, W): see `ScaleCrop` and `PersonCrop`.

    Args:
        task: a pose is cropped around its person, the others anywhere, and so is a pose among several tasks.
        size: the crop (segmentation, depth) or the network's input (pose).
        scale: the range of zoom factors, sampled uniformly.
        rotation: largest rotation either way, degrees (pose alone).
        mirror: mirror every second sample.
        depth_by_zoom: see `ScaleCrop`.
        normalisation: the encoder's.
    """
    if isinstance(task, Pose):
        crop = PersonCrop(task, size, scale=scale, rotation=rotation, mirror=mirror)
        return v2.Compose([crop, *to_network(normalisation)])
    if rotation:
        raise FastnasError(f"only pose samples can be rotated: set rotation to 0 for {task.kind}")
    if isinstance(task, Multi):
        exchanged = next((each.mirror for each in task.tasks if isinstance(each, Pose)), ())
        whole = ScaleCrop(size, scale=scale, mirror=mirror, joints=exchanged, depth_by_zoom=depth_by_zoom)
        return v2.Compose([whole, *to_network(normalisation), FillLabels(task)])
    crop = ScaleCrop(size, scale=scale, mirror=mirror, depth_by_zoom=depth_by_zoom)
    return v2.Compose([crop, *to_network(normalisation)])


def eval_transform(
    task: Task,
    size: tuple[int, int] | None = None,
    *,
    multiple: int = 1,
    normalisation: Normalisation = IMAGENET,
) -> v2.Transform:
    """The fixed transform of evaluation: a pose's person is cropped to `size`, whole images are only padded.

    Args:
        task: what the samples are labelled for.
        size: the crop (H, W) for pose; None for whole images.
        multiple: pad whole images right and below until both sides are multiples of this; 512 brings every Pascal VOC
            image to 512x512, so that they can share a batch.
        normalisation: the encoder's.
    """
    if not isinstance(task, Pose) or size is None:
        return v2.Compose([PadToMultiple(multiple), *to_network(normalisation)])
    crop = PersonCrop(task, size, scale=(1.0, 1.0), rotation=0.0, mirror=False)
    return v2.Compose([crop, *to_network(normalisation)])


class ScaleCrop(v2.Transform):
    """Zoom by a random factor, mirror at random, and cut out a crop; where the image is smaller, it is padded.

    Padding has ImageNet's mean colour, is ignored in masks and missing in depths. Depths are divided by the zoom
    factor: for a camera of fixed focal length, what appears twice as large stands at half the distance. Without
    `depth_by_zoom` they keep their metres. Mirroring reorders joints by `joints` (`Pose.mirror`).
    """

    def __init__(
        self,
        size: tuple[int, int],
        scale: tuple[float, float] = (0.5, 2.0),
        mirror: bool = True,
        joints: Sequence[int] = (),
        depth_by_zoom: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.scale, self.mirror, self.joints = size, scale, mirror, joints
        self.depth_by_zoom = depth_by_zoom

    def forward(self, sample: Tensors) -> Tensors:
        """Move all of `sample` by one random matrix."""
        (height, width), (out_height, out_width) = sample["image"].shape[-2:], self.size
        zoom = _uniform(*self.scale)
        mirrored = self.mirror and _uniform(0, 1) < 0.5
        # The crop's corner in the zoomed image, anywhere from one end of the slack to the other, on whole pixels.
        left = round(_uniform(0, zoom * width - out_width))
        top = round(_uniform(0, zoom * height - out_height))
        to_edges, to_centres = _shift(0.5, 0.5), _shift(-0.5 - left, -0.5 - top)
        flip = _shift(width, 0) @ _stretch(-1, 1) if mirrored else np.eye(3)
        matrix = to_centres @ _stretch(zoom, zoom) @ flip @ to_edges
        return warp(sample, matrix, self.size, self.joints, depth_by_zoom=self.depth_by_zoom)


class PersonCrop(v2.Transform):
    """Cut out the person of `box`, upright or rotated, in the shape of the output.

    The box, grown by `margin` and then to the output's aspect ratio, fills the output; `scale`, `rotation` and `mirror`
    change that at random. Mirroring exchanges left and right joints.
    """

    def __init__(
        self,
        task: Pose,
        size: tuple[int, int],
        *,
        scale: tuple[float, float] = (0.75, 1.25),
        rotation: float = 30.0,
        mirror: bool = True,
        margin: float = 1.25,
    ) -> None:
        super().__init__()
        self.task, self.size, self.scale = task, size, scale
        self.rotation, self.mirror, self.margin = rotation, mirror, margin

    def forward(self, sample: Tensors) -> Tensors:
        """Move all of `sample` by one random matrix.

        Raises:
            FastnasError: the person's box is empty.
        """
        left, top, right, bottom = sample["box"].reshape(4).tolist()
        if not (right > left and bottom > top):
            raise FastnasError(f"{sample['name']}: the person's box {[left, top, right, bottom]} is empty")
        height, width = self.size
        zoom = min(width / (right - left), height / (bottom - top)) / self.margin * _uniform(*self.scale)
        angle = math.radians(_uniform(-self.rotation, self.rotation))
        mirrored = self.mirror and _uniform(0, 1) < 0.5
        matrix = (
            _shift((width - 1) / 2, (height - 1) / 2)
            @ _turn(angle)
            @ _stretch(-zoom if mirrored else zoom, zoom)
            @ _shift(-(left + right - 1) / 2, -(top + bottom - 1) / 2)
        )
        return warp(sample, matrix, self.size, self.task.mirror)


class PadToMultiple(v2.Transform):
    """Pad right and below until height and width are multiples of `multiple`; `content` keeps what they were."""

    def __init__(self, multiple: int = 1) -> None:
        super().__init__()
        self.multiple = multiple

    def forward(self, sample: Tensors) -> Tensors:
        """Pad all of `sample`."""
        content = sample["image"].shape[-2:]
        height, width = (-(-side // self.multiple) * self.multiple for side in content)
        return {**warp(sample, np.eye(3), (height, width)), "content": torch.tensor(content)}


class FillLabels(v2.Transform):
    """Add the labels that a sample lacks of several tasks, all ignored, so that samples of any of them share a batch.

    What only evaluation needs (box, head size, area) is left out.
    """

    def __init__(self, task: Multi) -> None:
        super().__init__()
        self.labels = {each.label for each in task.tasks}
        self.joints = next((each.outputs for each in task.tasks if isinstance(each, Pose)), 0)

    def forward(self, sample: Tensors) -> Tensors:
        """A sample with the same keys whatever its labels were."""
        size = sample["image"].shape[-2:]
        kept = ("name", "image", "to_image", *(f"teacher_{label}" for label in self.labels))
        filled = {key: sample[key] for key in kept if key in sample}
        if "mask" in self.labels:
            filled["mask"] = sample.get("mask", torch.full(size, IGNORE, dtype=torch.uint8))
        if "depth" in self.labels:
            filled["depth"] = sample.get("depth", torch.zeros(size))
        if "keypoints" in self.labels:
            filled["keypoints"] = sample.get("keypoints", torch.zeros(self.joints, 2))
            filled["visible"] = sample.get("visible", torch.zeros(self.joints, dtype=torch.bool))
        return filled


def warp(
    sample: Tensors,
    matrix: Matrix,
    size: tuple[int, int],
    mirror: Sequence[int] = (),
    *,
    depth_by_zoom: bool = True,
) -> Tensors:
    """A copy of `sample` with everything in it moved by a similarity `matrix` (old to new pixels) onto `size` (H, W).

    What comes from outside the old image has ImageNet's mean colour, is ignored in the mask and missing in the
    depth. Depths are divided by the matrix's zoom factor, unless `depth_by_zoom` is false. A matrix that mirrors also
    reorders the joints by `mirror` (`Pose.mirror`). A teacher's outputs are brought to a quarter of the resolution of
    `size`, and are NaN outside the old image. The new sample also has `to_image`, float32 [2, 3]: from its pixels to
    those of the image as loaded, in which `head_size` and `area` are measured and stay.
    """
    moved = dict(sample)
    determinant = float(np.linalg.det(matrix[:2, :2]))
    zoom, old = math.sqrt(abs(determinant)) if depth_by_zoom else 1.0, sample["image"].shape[-2:]
    order = list(mirror) if determinant < 0 and mirror else slice(None)
    moved["image"] = tv_tensors.Image(_resample(sample["image"], matrix, size, [255 * mean for mean in IMAGENET.mean]))
    if "mask" in sample:
        moved["mask"] = tv_tensors.Mask(_resample(sample["mask"], matrix, size, IGNORE))
    if "depth" in sample:
        moved["depth"] = tv_tensors.Mask(_resample(sample["depth"], matrix, size, 0) / zoom)
    if "teacher_mask" in sample:
        moved["teacher_mask"] = _resample_outputs(sample["teacher_mask"], matrix, old, size)
    if "teacher_depth" in sample:
        moved["teacher_depth"] = _resample_outputs(sample["teacher_depth"], matrix, old, size) / zoom
    if "teacher_keypoints" in sample:
        moved["teacher_keypoints"] = _resample_outputs(sample["teacher_keypoints"], matrix, old, size)[order]
    if "keypoints" in sample:
        points = _apply(matrix, sample["keypoints"])[order]
        moved["keypoints"] = tv_tensors.KeyPoints(points, canvas_size=size)
        moved["visible"] = sample["visible"][order]
    if "box" in sample:
        left, top, right, bottom = (sample["box"].reshape(4) - 0.5).tolist()
        corners = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]])
        corners = _apply(matrix, corners) + 0.5
        box = torch.cat([corners.amin(0), corners.amax(0)])[None]
        moved["box"] = tv_tensors.BoundingBoxes(box, format="XYXY", canvas_size=size)
    inverse = np.linalg.inv(matrix)
    if "to_image" in sample:
        inverse = np.vstack([sample["to_image"].double().numpy(), [0, 0, 1]]) @ inverse
    moved["to_image"] = torch.from_numpy(inverse[:2]).float()
    return moved


def collate(samples: Sequence[Tensors]) -> Tensors:
    """A batch: every tensor and number of the samples stacked to [N, ...], names as a list.

    Raises:
        FastnasError: samples of several sizes, or with different labels.
    """
    if any(sample.keys() != samples[0].keys() for sample in samples):
        names = [sample["name"] for sample in samples]
        raise FastnasError(f"the samples {', '.join(names)} do not have the same labels and cannot share a batch")
    batch: Tensors = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if isinstance(first, str):
            batch[key] = values
        elif isinstance(first, Tensor):
            if any(value.shape != first.shape for value in values):
                sizes = ", ".join(f"{sample['name']} {tuple(sample[key].shape)}" for sample in samples)
                raise FastnasError(f"{key} differs in size within a batch ({sizes}): crop, pad, or use batches of one")
            batch[key] = torch.stack(values)
        else:
            batch[key] = torch.tensor(values)
    return batch


def denormalise(image: Tensor, normalisation: Normalisation = IMAGENET) -> Tensor:
    """The uint8 RGB image [..., 3, H, W] that was normalised to `image`."""
    mean, std = (image.new_tensor(values)[:, None, None] for values in normalisation)
    return ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def worker_init(_worker: int) -> None:
    """Keep OpenCV to one thread in a loader's process, as torch keeps itself; pass it as `worker_init_fn`."""
    cv2.setNumThreads(0)


def to_network(normalisation: Normalisation = IMAGENET) -> list[v2.Transform]:
    """uint8 RGB to normalised float32; labels stay as they are."""
    to_float = v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)
    return [to_float, v2.Normalize(*normalisation)]


def _resample(pixels: Tensor, matrix: Matrix, size: tuple[int, int], outside: float | list[float]) -> Tensor:
    """[H, W] labels by nearest neighbour, so that no two are mixed; [3, H, W] colours bilinearly."""
    colour = pixels.ndim == 3
    array = (pixels.permute(1, 2, 0) if colour else pixels).contiguous().numpy()
    result = torch.from_numpy(
        cv2.warpAffine(
            array,
            matrix[:2],
            size[::-1],
            flags=cv2.INTER_LINEAR if colour else cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=outside,
        )
    )
    return result.permute(2, 0, 1).contiguous() if colour else result


def _resample_outputs(outputs: Tensor, matrix: Matrix, old: Sequence[int], size: tuple[int, int]) -> Tensor:
    """A teacher's outputs [K, h, w] for an image of size `old` (H, W), bilinearly at a quarter of `size`."""
    height, width = (-(-side // TEACHER_STRIDE) for side in size)
    columns = (torch.arange(width) + 0.5) * size[1] / width - 0.5
    rows = (torch.arange(height) + 0.5) * size[0] / height - 0.5
    points = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1).reshape(-1, 2)
    inverse = np.linalg.inv(matrix).astype(np.float64)
    places = (_apply(inverse, points) + 0.5) / torch.tensor([old[1], old[0]]) * 2 - 1
    grid = places.reshape(1, height, width, 2)
    moved = F.grid_sample(outputs[None], grid, padding_mode="border", align_corners=False)[0]
    return moved.masked_fill((grid[0].abs() > 1).any(-1), math.nan)


def _apply(matrix: Matrix, points: Tensor) -> Tensor:
    """Points [J, 2] moved by `matrix`, in float64 until the end."""
    exact = torch.from_numpy(matrix[:2])
    return (points.double() @ exact[:, :2].T + exact[:, 2]).float()


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


def _stretch(x: float, y: float) -> Matrix:
    return np.diag([x, y, 1]).astype(np.float64)


def _turn(angle: float) -> Matrix:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=np.float64)
