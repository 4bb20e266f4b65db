"""The base class of datasets, and the two that all file formats use: images with labels in files, and people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from fastnas.data.images import IMAGE_SUFFIXES, Note, Size, fit, ignore_note, read_image, read_size
from fastnas.data.readers import read_label_size, read_logits, require_files
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE, Depth, Pose, Segmentation, Task


class Sample(TypedDict, total=False):
    """One image and its labels, which depend on the task.

    Attributes:
        name: unique within the dataset.
        image: uint8 [3, H, W], RGB.
        mask: uint8 [H, W], class ids; 255 is ignored.
        depth: float32 [H, W], metres; 0 is missing.
        keypoints: float32 [J, 2], x and y in pixels.
        visible: bool [J], the joint is labelled (occluded or not) and takes part in the loss.
        box: float32 [1, 4], XYXY, the person.
        head_size: pixels, what PCKh divides by; NaN where the annotation has no head.
        area: square pixels of the person, what COCO's keypoint similarity divides by; NaN where unknown.
        image_id: which people share an image; -1 where unknown.
        teacher_mask: float32 [K, h, w], a teacher's logits of K classes for the whole image, at any resolution; NaN
            where there are none.
        teacher_depth: float32 [1, h, w], its metres likewise.
        teacher_keypoints: float32 [J, h, w], its heatmaps likewise.
    """

    name: str
    image: tv_tensors.Image
    mask: tv_tensors.Mask
    depth: tv_tensors.Mask
    keypoints: tv_tensors.KeyPoints
    visible: torch.Tensor
    box: tv_tensors.BoundingBoxes
    head_size: float
    area: float
    image_id: int
    teacher_mask: torch.Tensor
    teacher_depth: torch.Tensor
    teacher_keypoints: torch.Tensor


class DenseDataset(Dataset[Sample]):
    """A map-style dataset: `len(dataset)` samples of one task.

    Attributes:
        name: the name it was opened by.
        split: of the dataset.
        task: of the labels, with its classes, joints or range.
        taught: whether samples carry a teacher's outputs.
    """

    name: str
    split: str
    task: Task
    taught: bool = False

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError

    def size(self, index: int, note: Note = ignore_note) -> Size:
        """(W, H) of a sample as it is shown, read from file headers where there are files.

        Args:
            index: of the sample.
            note: takes a line about what is changed when the sample is read.

        Raises:
            FastnasError: a file is broken, or its label has another size.
        """
        height, width = self[index]["image"].shape[-2:]
        return width, height

    def image_path(self, index: int) -> Path | None:
        """The image file of a sample; None where images are no files."""
        return None


class Subset(DenseDataset):
    """Some samples of another dataset, in the order of `indices`."""

    def __init__(self, whole: DenseDataset, indices: Sequence[int], split: str) -> None:
        if not indices:
            raise FastnasError(f"split {split} of {whole.name} is empty: {len(whole)} samples are too few to split")
        self.whole, self.indices = whole, indices
        self.name, self.split, self.task, self.taught = whole.name, split, whole.task, whole.taught

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.whole[self.indices[index]]

    def size(self, index: int, note: Note = ignore_note) -> Size:
        """(W, H) of a sample."""
        return self.whole.size(self.indices[index], note)

    def image_path(self, index: int) -> Path | None:
        """The image file of a sample."""
        return self.whole.image_path(self.indices[index])


@dataclass(frozen=True)
class FilePair:
    """The files of an image, of its label (a mask or a depth map) and of a teacher's outputs; None for no file."""

    name: str
    image: Path
    target: Path | None
    teacher: Path | None = None


class PairDataset(DenseDataset):
    """Images with a label file each, a mask or a depth map, with a teacher's outputs, or with both.

    Args:
        name, split, task: see `DenseDataset`.
        pairs: the files; all of them must exist.
        read_target: reads a label file to class ids uint8 or metres float32, [H, W].
    """

    def __init__(
        self,
        name: str,
        split: str,
        task: Segmentation | Depth,
        pairs: Sequence[FilePair],
        read_target: Callable[[Path], npt.NDArray[np.generic]],
    ) -> None:
        if not pairs:
            raise FastnasError(f"split {split} of {name} is empty: no image is listed")
        self.name, self.split, self.task, self.pairs, self.read_target = name, split, task, pairs, read_target
        self._label = task.label
        require_files((pair.image for pair in pairs), "image")
        require_files((pair.target for pair in pairs if pair.target), self._label)
        require_files((pair.teacher for pair in pairs if pair.teacher), "teacher's outputs")
        self.taught = any(pair.teacher for pair in pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = read_image(pair.image)
        if pair.target is None:
            target = self._unlabelled(image.shape[1:])
        else:
            target = self.read_target(pair.target)
            self._require_same_size(pair.target, pair.image, image.shape[:0:-1], target.shape[::-1])
        label = tv_tensors.Mask(torch.from_numpy(target))
        if self._label == "mask":
            sample = Sample(name=pair.name, image=image, mask=label)
        else:
            sample = Sample(name=pair.name, image=image, depth=label)
        if pair.teacher is not None:
            sample[f"teacher_{self._label}"] = torch.from_numpy(read_logits(pair.teacher, self.task.outputs))  # type: ignore[literal-required]
        return sample

    def size(self, index: int, note: Note = ignore_note) -> Size:
        """(W, H) of a sample, from the headers of its two files."""
        pair = self.pairs[index]
        size = read_size(pair.image)
        if pair.target is None:
            return size
        if pair.target.suffix.lower() in IMAGE_SUFFIXES:
            target = read_label_size(pair.target, self._label)
        else:
            target = self.read_target(pair.target).shape[::-1]
        self._require_same_size(pair.target, pair.image, size, target)
        return size

    def image_path(self, index: int) -> Path | None:
        """The image file of a sample."""
        return self.pairs[index].image

    def _unlabelled(self, size: tuple[int, ...]) -> npt.NDArray[np.generic]:
        """The label of an image without one, for its size (H, W): every pixel ignored, or every depth missing."""
        return np.full(size, IGNORE, np.uint8) if self._label == "mask" else np.zeros(size, np.float32)

    def _require_same_size(self, target: Path, image: Path, size: tuple[int, ...], labelled: tuple[int, ...]) -> None:
        """Compare (W, H) of image and label."""
        if size != labelled:
            turned = " as a camera shows it" if size == labelled[::-1] else ""
            raise FastnasError(
                f"{self._label} {target} is {labelled[0]}x{labelled[1]}, "
                f"but its image {image} is {size[0]}x{size[1]}{turned}: they must be of one size"
            )


@dataclass(frozen=True, eq=False)
class PersonAnnotation:
    """One annotated person: J joints and a box within an image file; see `Sample` for the units."""

    name: str
    image: Path
    keypoints: npt.NDArray[np.float32]
    visible: npt.NDArray[np.bool_]
    box: tuple[float, float, float, float]
    head_size: float = float("nan")
    image_id: int = -1
    area: float = float("nan")
    labelled: Size | None = None
    """(W, H) that the annotation file notes for the image; coordinates are scaled from it."""

    @property
    def extent(self) -> float:
        """Square pixels of the box."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    def fitted(self, size: Size, note: Note) -> PersonAnnotation:
        """The annotation in the coordinates of an image of `size` (W, H), as it is shown.

        Raises:
            FastnasError: the image has another aspect than the annotation file notes.
        """
        if self.labelled is None or self.labelled == size:
            return self
        try:
            labelled = fit(self.labelled, size, note)
        except FastnasError as error:
            raise FastnasError(f"{self.image}: {error}") from error
        x, y = scale = size[0] / labelled[0], size[1] / labelled[1]
        left, top, right, bottom = self.box
        return replace(
            self,
            keypoints=self.keypoints * np.array(scale, dtype=np.float32),
            box=(left * x, top * y, right * x, bottom * y),
            head_size=self.head_size * math.sqrt(x * y),
            area=self.area * x * y,
        )


class PoseDataset(DenseDataset):
    """People in images: every sample is one person in the full image, to be cropped by its box.

    Args:
        name, split, task: see `DenseDataset`.
        people: in the order of the samples.
        annotations: the file they come from.
    """

    task: Pose

    def __init__(
        self, name: str, split: str, task: Pose, people: Sequence[PersonAnnotation], annotations: Path
    ) -> None:
        if not people:
            raise FastnasError(f"split {split} of {name} is empty: {annotations} has no person with a labelled joint")
        self.name, self.split, self.task, self.people, self.annotations = name, split, task, people, annotations
        require_files((person.image for person in people), "image")

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.people[index].image)
        height, width = image.shape[-2:]
        person = self.people[index].fitted((width, height), ignore_note)
        return Sample(
            name=person.name,
            image=image,
            keypoints=tv_tensors.KeyPoints(torch.from_numpy(person.keypoints.copy()), canvas_size=(height, width)),
            visible=torch.from_numpy(person.visible.copy()),
            box=tv_tensors.BoundingBoxes(
                torch.tensor([person.box], dtype=torch.float32), format="XYXY", canvas_size=(height, width)
            ),
            head_size=person.head_size,
            area=person.area,
            image_id=person.image_id,
        )

    def size(self, index: int, note: Note = ignore_note) -> Size:
        """(W, H) of a sample's whole image, from its header."""
        size = read_size(self.people[index].image)
        self.people[index].fitted(size, note)
        return size

    def image_path(self, index: int) -> Path | None:
        """The image file of a sample."""
        return self.people[index].image


def largest_people(dataset: DenseDataset) -> DenseDataset:
    """Of a dataset of people one sample for each image: the person with the largest box. Other datasets as they are."""
    if isinstance(dataset, Subset):
        whole = largest_people(dataset.whole)
        if whole is dataset.whole or not isinstance(whole, Subset):
            return dataset
        kept = set(whole.indices)
        return Subset(dataset.whole, [index for index in dataset.indices if index in kept], dataset.split)
    if not isinstance(dataset, PoseDataset):
        return dataset
    largest: dict[Path, int] = {}
    for index, person in enumerate(dataset.people):
        other = largest.setdefault(person.image, index)
        if person.extent > dataset.people[other].extent:
            largest[person.image] = index
    return Subset(dataset, sorted(largest.values()), dataset.split)
