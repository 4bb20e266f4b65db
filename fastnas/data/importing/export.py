"""What every format is read into: a task, and images with their labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnas.data.images import Note, Size, fit
from fastnas.data.shapes import Shape
from fastnas.tasks import Pose, Segmentation

Ids = npt.NDArray[np.uint8]


class Label(ABC):
    """The class ids of an image."""

    @abstractmethod
    def ids(self, size: Size, note: Note) -> Ids:
        """Class ids uint8 [H, W], 255 ignored, of an image that is shown in `size` (W, H).

        Args:
            size: of the image, upright.
            note: takes a line about what was changed.

        Raises:
            FastnasError: the label is damaged, or of another size.
        """


@dataclass(frozen=True)
class Regions(Label):
    """Objects on background.

    Attributes:
        objects: class id and shape, in the order of drawing.
        labelled: (W, H) that the tool noted for the image; None where it notes none.
        small_last: draw by area, the largest first; for formats whose objects have no order.
    """

    objects: Sequence[tuple[int, Shape]]
    labelled: Size | None
    small_last: bool = False

    def ids(self, size: Size, note: Note) -> Ids:
        """The objects drawn over each other."""
        labelled = fit(self.labelled or size, size, note)
        ids = np.zeros(size[::-1], dtype=np.uint8)
        objects = sorted(self.objects, key=lambda pair: -pair[1].area) if self.small_last else self.objects
        empty = 0
        for class_id, shape in objects:
            left, top, pixels = shape.mask(size, labelled)
            empty += not pixels.any()
            ids[top : top + pixels.shape[0], left : left + pixels.shape[1]][pixels] = class_id
        if empty:
            note(f"{empty} of {len(objects)} objects cover no pixel (too few points, or outside of the image)")
        return ids


@dataclass(frozen=True)
class People:
    """People with keypoints.

    Attributes:
        annotations: COCO's `bbox`, `keypoints` and perhaps `area` of each person, checked.
        labelled: (W, H) that the tool noted for the image; None where it notes none.
    """

    annotations: Sequence[dict[str, Any]]
    labelled: Size | None

    def fitted(self, size: Size, note: Note) -> list[dict[str, Any]]:
        """The annotations in the coordinates of an image of `size`."""
        labelled = fit(self.labelled or size, size, note)
        x, y = size[0] / labelled[0], size[1] / labelled[1]
        if labelled == size:
            return list(self.annotations)
        return [
            {
                "bbox": [value * (x, y)[i % 2] for i, value in enumerate(person["bbox"])],
                "keypoints": [value * (x, y, 1)[i % 3] for i, value in enumerate(person["keypoints"])],
                "area": person["area"] * x * y,
            }
            for person in self.annotations
        ]


@dataclass(frozen=True)
class LabelledImage:
    """An image file and its label.

    Attributes:
        image: the file.
        label: what is on it.
        split: the split it has in the source; None where the source has none.
    """

    image: Path
    label: Label | People
    split: str | None


@dataclass
class Log:
    """What a user must know of an import, one line each.

    Attributes:
        dropped: images and labels that were left out.
        notes: what was guessed or changed.
    """

    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Export:
    """A labelling tool's files.

    Attributes:
        task: with the classes or joints.
        samples: the images that have labels.
        used: files that are no images without labels: masks, and images that were left out with a reason.
    """

    task: Segmentation | Pose
    samples: list[LabelledImage]
    used: set[Path] = field(default_factory=set)
