"""The tasks of networks: a class for every pixel, the joints of a person, or the depth of every pixel.

A task is a small frozen value. A dataset has one, a model file stores one, and its `kind` selects head, loss, metrics
and drawing. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from fastnas.errors import FastnasError
from fastnas.jetson.checks import LABEL

IGNORE = 255
"""The class id of pixels that losses and metrics ignore."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class _Task:
    """What all tasks share.

    Attributes:
        kind: its name.
        head_std: standard deviation of the initial weights of classifiers; None for Xavier's.
    """

    kind: ClassVar[str]
    head_std: ClassVar[float | None] = None

    def to_dict(self) -> dict[str, Any]:
        """The task as JSON values, read back by `task_from_dict`."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class Segmentation(_Task):
    """One of K classes for every pixel.

    Attributes:
        classes: K names; the index is the class id in masks.
        colours: K RGB colours (0..255) for drawings.
    """

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    kind: ClassVar[str] = "segmentation"

    def __post_init__(self) -> None:
        checked_names(self.classes, "a segmentation task")
        if not 1 <= len(self.classes) <= IGNORE:
            raise FastnasError(f"a segmentation task needs 1 to {IGNORE} classes, not {len(self.classes)}")
        if len(self.colours) != len(self.classes):
            raise FastnasError(
                f"{len(self.classes)} classes and {len(self.colours)} colours: every class needs its colour"
            )
        for name, colour in zip(self.classes, self.colours, strict=True):
            if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
                raise FastnasError(f"the colour of class {name!r} is {colour}: give three integers of 0 to 255")

    @property
    def outputs(self) -> int:
        """Channels of the network's output: K."""
        return len(self.classes)


@dataclass(frozen=True)
class Pose(_Task):
    """The positions of J joints of one person.

    Attributes:
        joints: J names, such as `"right_ankle"`.
        skeleton: pairs of joint indices (from 0) that drawings connect.
        mirror: J indices: in a mirrored image joint j is where joint `mirror[j]` was, left and right exchanged.
    """

    joints: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    mirror: tuple[int, ...]
    kind: ClassVar[str] = "pose"
    head_std: ClassVar[float | None] = 0.001
    """Heatmaps are nearly empty: outputs that start large take hundreds of steps to unlearn."""

    def __post_init__(self) -> None:
        count = len(self.joints)
        if count == 0:
            raise FastnasError("a pose task needs at least one joint")
        checked_names(self.joints, "a pose task")
        if len(self.mirror) != count or any(
            not 0 <= other < count or self.mirror[other] != joint for joint, other in enumerate(self.mirror)
        ):
            raise FastnasError(f"mirror must pair the {count} joints (mirror[mirror[j]] == j), but is {self.mirror}")
        for bone in self.skeleton:
            if len(bone) != 2 or not all(0 <= joint < count for joint in bone):
                raise FastnasError(f"the skeleton connects {bone}, but joints are numbered 0 to {count - 1}")

    @property
    def outputs(self) -> int:
        """Channels of the network's output: J heatmaps."""
        return len(self.joints)


@dataclass(frozen=True)
class Depth(_Task):
    """The distance of every pixel along the viewing axis.

    Attributes:
        minimum: the nearest depth that is evaluated, metres.
        maximum: the farthest, metres.
    """

    minimum: float
    maximum: float
    kind: ClassVar[str] = "depth"

    def __post_init__(self) -> None:
        if not 0 < self.minimum < self.maximum < math.inf:
            raise FastnasError(
                f"a depth task needs 0 < minimum < maximum (metres), not {self.minimum} and {self.maximum}"
            )

    @property
    def outputs(self) -> int:
        """Channels of the network's output: one."""
        return 1


Task = Segmentation | Pose | Depth

TASKS: dict[str, type[Segmentation] | type[Pose] | type[Depth]] = {
    task.kind: task for task in (Segmentation, Pose, Depth)
}


def checked_names(names: Iterable[object], where: object) -> list[str]:
    """Names of classes or joints, without the spaces around them.

    Raises:
        FastnasError: no text, an empty or unprintable name, or one that occurs twice.
    """
    known: dict[str, None] = {}
    for name in names:
        tidy = name.strip() if isinstance(name, str) else ""
        if not tidy or not str(name).isprintable() or len(tidy) > LABEL[1]:
            raise FastnasError(f"{where}: {name!r:.80} is no name: use up to {LABEL[1]} printable characters")
        if tidy in known:
            raise FastnasError(f"{where} has two classes or joints named {tidy!r}: rename or merge them")
        known[tidy] = None
    return list(known)


def task_from_dict(values: Mapping[str, Any]) -> Task:
    """The task of `to_dict`'s values, also after a round trip through JSON.

    Raises:
        FastnasError: no such kind, a field too many or too few, or a value that the task refuses.
    """
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if not isinstance(kind, str) or kind not in TASKS:
        raise FastnasError(f"a task needs a kind, one of {', '.join(TASKS)}, not {kind!r}")
    task, given = TASKS[kind], set(values) - {"kind"}
    names = {field.name for field in fields(task)}
    if given != names:
        raise FastnasError(f"a {kind} task has the fields {', '.join(sorted(names))}, not {', '.join(sorted(given))}")
    try:
        return task(**{name: _frozen(values[name]) for name in names})
    except TypeError as error:
        raise FastnasError(f"a {kind} task has a value of the wrong type: {error}") from error


def _frozen(value: Any) -> Any:
    """Nested lists as tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value
