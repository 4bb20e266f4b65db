"""Generated street scenes as a dataset: no download, any size, and all three tasks on the same worlds.

Eleven classes share their textures and colours, so that shape and context tell them apart; distance, occlusion, shadow,
haze and noise vary. A scene depends on the seed, the split and its index alone: not on the order of calls, the worker
process or the image's size. What it does not know: motion, indoor rooms, animals, weather on the ground.
"""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from torchvision import tv_tensors

from fastnas.data.base import DenseDataset, Sample
from fastnas.data.formats.mpii import TASK as POSE
from fastnas.data.images import Note, Size, ignore_note
from fastnas.data.synthetic.primitives import CLASSES
from fastnas.data.synthetic.render import RANGE, PersonLabels, Scene, outline, render
from fastnas.data.synthetic.world import compose
from fastnas.errors import FastnasError
from fastnas.tasks import Depth, Segmentation, Task

COLOURS = (
    (135, 190, 235), (125, 115, 105), (180, 95, 65), (45, 150, 65), (235, 190, 70), (230, 80, 140), (150, 95, 200),
    (60, 110, 235), (250, 240, 100), (255, 140, 40), (235, 60, 60),
)  # fmt: skip
SEGMENTATION = Segmentation(CLASSES, COLOURS)
DEPTH = Depth(*RANGE)
TASKS: dict[str, Task] = {task.kind: task for task in (SEGMENTATION, POSE, DEPTH)}
COUNTS = {"train": 4000, "val": 500, "test": 500}
"""The splits, and how many scenes each has unless told otherwise."""
SMALLEST = 16  # pixels
FEWEST_JOINTS = 8  # in view of a pose sample
ATTEMPTS = 6


class SyntheticScenes(DenseDataset):
    """Generated scenes with the labels of one task.

    Args:
        split: `train`, `val` or `test`; no scene is in two of them.
        task: `segmentation` (mask), `depth` (depth), or `pose` (one person in the middle of the image).
        size: (H, W) of the images, pixels.
        count: how many scenes; by default `COUNTS[split]`. The first scenes are the same whatever the count.
        seed: another seed gives other scenes.

    Raises:
        FastnasError: an unknown split or task, a size under 16 pixels, or no scenes.
    """

    name = "synthetic"

    def __init__(
        self,
        split: str = "train",
        task: str = "segmentation",
        size: tuple[int, int] = (256, 256),
        count: int | None = None,
        seed: int = 0,
    ) -> None:
        if split not in COUNTS:
            raise FastnasError(f"synthetic has no split {split!r}; it has {', '.join(COUNTS)}")
        if task not in TASKS:
            raise FastnasError(f"synthetic has no labels for {task!r}, only for {', '.join(TASKS)}")
        if min(size) < SMALLEST:
            raise FastnasError(f"synthetic scenes of {size[0]}x{size[1]} pixels show nothing: take at least {SMALLEST}")
        if count is not None and count < 1:
            raise FastnasError(f"synthetic cannot have {count} scenes: take at least 1")
        self.split, self.task = split, TASKS[task]
        self.shape, self.seed = (int(size[0]), int(size[1])), int(seed)
        self._count = COUNTS[split] if count is None else int(count)

    def __len__(self) -> int:
        return self._count

    def size(self, index: int, note: Note = ignore_note) -> Size:
        """(W, H) of every sample."""
        return self.shape[1], self.shape[0]

    def scene(self, index: int) -> Scene:
        """Everything about one scene at once: image, classes, depth and people.

        In the pose task the first person is the person in the middle.

        Raises:
            IndexError: there are not so many scenes.
        """
        if not -self._count <= index < self._count:
            raise IndexError(f"scene {index} of {self._count}")
        rng = Random(f"{self.seed}/{self.split}/{index % self._count}")
        if self.task.kind != "pose":
            world = compose(rng, self.shape, people=(0, 3))
            return render(world, world.camera)
        for _ in range(ATTEMPTS):
            world = compose(rng, self.shape, people=(1, 3))
            shift = (rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06))
            box = outline(world.camera, world.people[0])
            scene = render(world, world.camera.framing(box, rng.uniform(0.6, 0.85), shift))
            if scene.people[0].visible.sum() >= FEWEST_JOINTS:
                break
        return scene

    def __getitem__(self, index: int) -> Sample:
        scene = self.scene(index)
        name = f"{self.split}-{index % self._count:06d}"
        image = tv_tensors.Image(torch.from_numpy(scene.image))
        match self.task.kind:
            case "segmentation":
                return Sample(name=name, image=image, mask=tv_tensors.Mask(torch.from_numpy(scene.mask)))
            case "depth":
                return Sample(name=name, image=image, depth=tv_tensors.Mask(torch.from_numpy(scene.depth)))
            case _:
                return self._pose(name, image, scene.people[0])

    def _pose(self, name: str, image: tv_tensors.Image, person: PersonLabels) -> Sample:
        """The sample of the person in the middle."""
        box = np.array([person.box], np.float32)
        return Sample(
            name=name,
            image=image,
            keypoints=tv_tensors.KeyPoints(torch.from_numpy(person.keypoints), canvas_size=self.shape),
            visible=torch.from_numpy(person.visible),
            box=tv_tensors.BoundingBoxes(torch.from_numpy(box), format="XYXY", canvas_size=self.shape),
            head_size=person.head_size,
        )
