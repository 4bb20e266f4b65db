"""The tasks of networks: a class for every pixel, the joints of a person, the depth of every pixel, or several of them.

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
        label: key of its label in a sample (`fastnas.data.base.Sample`); a multi task has none of its own.
        head_std: standard deviation of the initial weights of classifiers; None for Xavier's.
    """

    kind: ClassVar[str]
    label: ClassVar[str] = ""
    head_std: ClassVar[float | None] = None

    @property
    def outputs(self) -> int:
        """Channels of the network's output."""
        raise NotImplementedError

    @property
    def head_stds(self) -> tuple[tuple[int, float | None], ...]:
        """`head_std` of the output's channels, in their order: how many, and their value."""
        return ((self.outputs, self.head_std),)

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
    label: ClassVar[str] = "mask"

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
    label: ClassVar[str] = "keypoints"
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
    label: ClassVar[str] = "depth"

    def __post_init__(self) -> None:
        if not 0 < self.minimum < self.maximum < math.inf:
            raise FastnasError(
                f"a depth task needs 0 < minimum < maximum (metres), not {self.minimum} and {self.maximum}"
            )

    @property
    def outputs(self) -> int:
        """Channels of the network's output: one."""
        return 1


SingleTask = Segmentation | Pose | Depth

TASKS: dict[str, type[Segmentation] | type[Pose] | type[Depth]] = {
    task.kind: task for task in (Segmentation, Pose, Depth)
}


@dataclass(frozen=True)
class Multi(_Task):
    """Several tasks of one network, which shares encoder and decoder among them.

    The channels of the network's output are those of the tasks, one task after the other. The pose is that of the
    largest person in the whole image, not in a crop.

    Attributes:
        tasks: two or more, each of another kind.
    """

    tasks: tuple[SingleTask, ...]
    kind: ClassVar[str] = "multi"

    def __post_init__(self) -> None:
        kinds = [task.kind for task in self.tasks]
        if len(kinds) < 2 or len(set(kinds)) < len(kinds):
            raise FastnasError(f"a multi task needs two or more tasks of different kinds, not {', '.join(kinds) or 0}")

    @property
    def outputs(self) -> int:
        """Channels of the network's output: the sum over the tasks."""
        return sum(task.outputs for task in self.tasks)

    @property
    def head_stds(self) -> tuple[tuple[int, float | None], ...]:
        """Those of the tasks."""
        return tuple(pair for task in self.tasks for pair in task.head_stds)

    def to_dict(self) -> dict[str, Any]:
        """The task as JSON values, read back by `task_from_dict`."""
        return {"kind": self.kind, "tasks": [task.to_dict() for task in self.tasks]}


Task = SingleTask | Multi


def tasks_of(task: Task) -> tuple[SingleTask, ...]:
    """The single tasks of a task: those of a `Multi`, or it alone."""
    return task.tasks if isinstance(task, Multi) else (task,)


def join_tasks(tasks: Iterable[Task]) -> Task:
    """The task of a network that is to do all of `tasks`: of each kind the first, in the order of `TASKS`."""
    found: dict[str, SingleTask] = {}
    for task in tasks:
        for single in tasks_of(task):
            found.setdefault(single.kind, single)
    ordered = tuple(found[kind] for kind in TASKS if kind in found)
    return ordered[0] if len(ordered) == 1 else Multi(ordered)


def channels_of(task: Task) -> dict[str, slice]:
    """Which channels of the network's output belong to which kind of task, in their order."""
    found, start = {}, 0
    for each in tasks_of(task):
        found[each.kind] = slice(start, start + each.outputs)
        start += each.outputs
    return found


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
    if kind == Multi.kind:
        return _multi_from_dict(values)
    if not isinstance(kind, str) or kind not in TASKS:
        raise FastnasError(f"a task needs a kind, one of {', '.join((*TASKS, Multi.kind))}, not {kind!r}")
    task, given = TASKS[kind], set(values) - {"kind"}
    names = {field.name for field in fields(task)}
    if given != names:
        raise FastnasError(f"a {kind} task has the fields {', '.join(sorted(names))}, not {', '.join(sorted(given))}")
    try:
        return task(**{name: _frozen(values[name]) for name in names})
    except TypeError as error:
        raise FastnasError(f"a {kind} task has a value of the wrong type: {error}") from error


def _multi_from_dict(values: Mapping[str, Any]) -> Multi:
    tasks = values.get("tasks")
    if set(values) != {"kind", "tasks"} or not isinstance(tasks, (list, tuple)):
        raise FastnasError("a multi task has a kind and a list of tasks, nothing else")
    single = [task_from_dict(each) for each in tasks]
    if any(isinstance(task, Multi) for task in single):
        raise FastnasError("a multi task cannot hold another multi task")
    return Multi(tuple(task for task in single if not isinstance(task, Multi)))


def _frozen(value: Any) -> Any:
    """Nested lists as tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value
