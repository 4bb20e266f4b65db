"""Statistics of a split's labels, and what they say of mistakes: `fastnas data check`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastnas.data.base import DenseDataset, PairDataset, Sample
from fastnas.data.formats.voc import colour_map
from fastnas.data.images import IMAGE_SUFFIXES, opened, upright
from fastnas.tasks import IGNORE, Colour, Depth, Pose, Segmentation
from fastnas.tasks.joint_names import pairs_of

IGNORED = "(ignored)"
"""The key of the share of ignored pixels, beside the classes' names."""

UNLIKELY = 0.5
"""Shares above this of ignored pixels or joints outside of their image are warned of."""

OUT_OF_RANGE = 0.1
"""The same of depths out of the task's range: they have a loss, but no metric."""


@dataclass
class Findings:
    """What the statistics say, a line each.

    Attributes:
        problems: training on it cannot work.
        warnings: what is probably a mistake.
        notes: what is worth knowing.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class LabelStatistics(ABC):
    """Statistics of the labels of one split, accumulated over its samples."""

    def __init__(self, dataset: DenseDataset) -> None:
        self.dataset = dataset

    @abstractmethod
    def add(self, index: int, sample: Sample) -> None:
        """Accumulate a sample."""

    @abstractmethod
    def shares(self) -> dict[str, float]:
        """The statistics by name."""

    @abstractmethod
    def findings(self) -> Findings:
        """What they say."""


class ClassShares(LabelStatistics):
    """The share of each class among labelled pixels, and of ignored pixels among all."""

    def __init__(self, dataset: DenseDataset) -> None:
        super().__init__(dataset)
        assert isinstance(dataset.task, Segmentation)
        self.task, self.pixels, self.masks = dataset.task, np.zeros(256, dtype=np.int64), 0
        self.palettes = Palettes(dataset.task, certain=dataset.task.colours != colour_map(len(dataset.task.classes)))

    def add(self, index: int, sample: Sample) -> None:
        """Accumulate a mask, and the palette of its file."""
        mask = sample["mask"].numpy()
        self.pixels += np.bincount(mask.ravel(), minlength=256)
        self.masks += 1
        if isinstance(self.dataset, PairDataset):
            path = self.dataset.pairs[index].target
            if path is not None and path.suffix.lower() in IMAGE_SUFFIXES:
                self.palettes.add(path, mask)

    def shares(self) -> dict[str, float]:
        """Class -> share, and `IGNORED`."""
        labelled = max(self.pixels.sum() - self.pixels[IGNORE], 1)
        shares = {name: float(self.pixels[i] / labelled) for i, name in enumerate(self.task.classes)}
        return {**shares, IGNORED: float(self.pixels[IGNORE] / max(self.pixels.sum(), 1))}

    def findings(self) -> Findings:
        """Classes that do not occur, ignored pixels, and palettes in another order."""
        found = self.palettes.findings()
        ignored = self.shares()[IGNORED]
        used = [name for name, count in zip(self.task.classes, self.pixels, strict=False) if count]
        unused = [name for name in self.task.classes if name not in used]
        where = f"in {self.masks} decoded masks"
        hint = ""
        if self.dataset.name == "folder":
            hint = '; if 255 is a class, write "mask_map": {"255": 1} into dataset.json (try it: --mask-map 255=1)'
        if not used:
            found.problems.append(f"every pixel is ignored (255) {where}{hint}")
        elif len(used) == 1 and unused and ignored:
            found.problems.append(
                f"{where} there are only {used[0]} and ignored pixels (255, {ignored:.2%}): nothing to learn{hint}"
            )
        elif unused:
            found.warnings.append(f"{where} no pixel is of: {', '.join(unused)}")
        if used and ignored > UNLIKELY and not found.problems:
            found.warnings.append(f"{ignored:.0%} of the pixels are ignored (255) {where}{hint}")
        return found


class Palettes:
    """The colours of palette masks beside the classes that their indices mean.

    Args:
        task: with the colours of the classes.
        certain: the colours are the dataset's own, not just the usual ones.
    """

    def __init__(self, task: Segmentation, certain: bool) -> None:
        self.task, self.certain = task, certain
        self._seen: dict[Colour, tuple[int, Path]] = {}
        self._unlike = self._moved = ""

    def add(self, path: Path, mask: np.ndarray) -> None:
        """Compare the palette of a file, if it has one, with those before and with the classes' colours.

        Args:
            path: the file.
            mask: its class ids, uint8 [H, W].
        """
        with opened(path) as image:
            if image.mode != "P":
                return
            stored = np.asarray(upright(image))
            palette = np.array(image.getpalette("RGB") or [], dtype=int).reshape(-1, 3)
        numbers, first = np.unique(stored, return_index=True)
        used = [
            ((int(palette[n][0]), int(palette[n][1]), int(palette[n][2])), int(mask.ravel()[i]))
            for n, i in zip(numbers, first, strict=True)
            if n < len(palette)
        ]
        colours = [colour for colour, _ in used]
        for colour, class_id in used:
            if colours.count(colour) > 1:
                continue
            before, where = self._seen.setdefault(colour, (class_id, path))
            if before != class_id and not self._unlike:
                self._unlike = (
                    f"palettes differ: the colour {_text(colour)} is {self._name(before)} in {where} "
                    f"and {self._name(class_id)} in {path}"
                )
            owner = self.task.colours.index(colour) if colour in self.task.colours else class_id
            own = self.task.colours[class_id] if class_id < len(self.task.colours) else colour
            if owner != class_id and own != colour and not self._moved:
                self._moved = (
                    f"the palette of {path} has the colour {_text(colour)} of {self._name(owner)} "
                    f"where the mask means {self._name(class_id)}"
                )

    def findings(self) -> Findings:
        """What differs; the numbers of a mask count, not its colours."""
        found, advice = Findings(), "a tool has re-ordered the palette; save the masks with the class ids as numbers"
        if self._unlike:
            found.problems.append(f"{self._unlike}: {advice}")
        elif self._moved and self.certain:
            found.problems.append(f"{self._moved}: {advice}")
        elif self._moved:
            found.warnings.append(f"{self._moved}: only right if the numbers are the class ids, whatever the colours")
        return found

    def _name(self, class_id: int) -> str:
        return self.task.classes[class_id] if class_id < len(self.task.classes) else "ignored"


class JointShares(LabelStatistics):
    """The share of people with each joint labelled."""

    def __init__(self, dataset: DenseDataset) -> None:
        super().__init__(dataset)
        assert isinstance(dataset.task, Pose)
        self.task, self.people, self.outside = dataset.task, 0, 0
        self.seen = np.zeros(len(dataset.task.joints), dtype=np.int64)

    def add(self, index: int, sample: Sample) -> None:
        """Accumulate a person."""
        self.people += 1
        visible, points = sample["visible"].numpy(), sample["keypoints"].numpy()
        self.seen += visible
        height, width = sample["image"].shape[-2:]
        inside = ((points >= -1) & (points <= (width, height))).all(1)
        self.outside += int((visible & ~inside).sum())

    def shares(self) -> dict[str, float]:
        """Joint -> share."""
        return {name: float(self.seen[i] / self.people) for i, name in enumerate(self.task.joints)}

    def findings(self) -> Findings:
        """Pairs that change places when mirrored, joints that are never labelled or lie outside."""
        found = Findings()
        pairs = pairs_of(self.task.joints, self.task.mirror)
        listed = ", ".join(f"{a} and {b}" for a, b in pairs) or "none"
        found.notes.append(f"joints that change places in mirrored images: {listed}")
        never = [name for name, count in zip(self.task.joints, self.seen, strict=True) if not count]
        if never:
            found.warnings.append(f"in {self.people} decoded people no one is labelled with: {', '.join(never)}")
        share = self.outside / max(int(self.seen.sum()), 1)
        if share == 1:
            found.problems.append("every joint lies outside of its image: the coordinates are of another size")
        elif share > UNLIKELY:
            found.warnings.append(f"{share:.0%} of the joints lie outside of their image")
        return found


class DepthRange(LabelStatistics):
    """Nearest, mean and farthest depth, and the share of pixels without one."""

    def __init__(self, dataset: DenseDataset) -> None:
        super().__init__(dataset)
        assert isinstance(dataset.task, Depth)
        self.task = dataset.task
        self.nearest, self.farthest, self.total, self.present, self.pixels = np.inf, 0.0, 0.0, 0, 0
        self.above = self.below = 0

    def add(self, index: int, sample: Sample) -> None:
        """Accumulate a depth map."""
        depth = sample["depth"].numpy()
        present = depth[depth > 0]
        self.pixels += depth.size
        self.present += present.size
        self.total += float(present.sum(dtype=np.float64))
        self.nearest = min(self.nearest, float(present.min(initial=np.inf)))
        self.farthest = max(self.farthest, float(present.max(initial=0)))
        self.above += int((present > self.task.maximum).sum())
        self.below += int((present < self.task.minimum).sum())

    def shares(self) -> dict[str, float]:
        """Metres, and the share `missing`."""
        missing = 1 - self.present / max(self.pixels, 1)
        if not self.present:
            return {"missing": missing}
        mean = self.total / self.present
        return {"nearest": self.nearest, "mean": mean, "farthest": self.farthest, "missing": missing}

    def findings(self) -> Findings:
        """Depths that are missing or out of the task's range."""
        found = Findings()
        limits = f"the range of {self.task.minimum:g} to {self.task.maximum:g} m"
        unit = 'is "unit" of dataset.json, metres per stored step, right (0.001 for millimetres)?'
        if not self.present:
            found.problems.append("every depth is missing: no pixel has a value above 0")
        elif self.above == self.present or self.below == self.present:
            side = "above" if self.above else "below"
            reach = f"{self.nearest:g} to {self.farthest:g} m"
            found.problems.append(f"every depth is {side} {limits} ({reach}): {unit}")
        elif (out := (self.above + self.below) / self.present) > OUT_OF_RANGE:
            found.warnings.append(f"{out:.0%} of the depths are out of {limits}: {unit}")
        return found


def label_statistics(dataset: DenseDataset) -> LabelStatistics:
    """The statistics for a dataset's kind of labels."""
    kinds: dict[str, type[LabelStatistics]] = {"segmentation": ClassShares, "pose": JointShares, "depth": DepthRange}
    return kinds[dataset.task.kind](dataset)


def _text(colour: Colour) -> str:
    return ",".join(map(str, colour))
