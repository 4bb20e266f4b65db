"""Training recipes: what the paper trains with (Sects. 4.1-4.5 and its supplement), and ours for the smaller data.

A recipe is a frozen value; the run's settings and the model file store it whole. Fields of the paper that it leaves
open are marked "ours" where they are set.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_type_hints

from fastnas.errors import FastnasError


def _require(holds: bool, part: Any, name: str, rule: str) -> None:
    if not holds:
        raise FastnasError(f"{name} must be {rule}, not {getattr(part, name)!r}")


@dataclass(frozen=True)
class Optimiser:
    """How one part of the network (encoder or decoder) is updated.

    Attributes:
        kind: `sgd` or `adam`.
        lr: learning rate before the phase's and the schedule's factors.
        momentum: of SGD.
        betas, eps: of Adam.
        weight_decay: L2 penalty added to the gradient.
        clip: largest gradient norm of the part; 0 for none.
    """

    kind: Literal["sgd", "adam"]
    lr: float
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-3
    weight_decay: float = 1e-5
    clip: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lr", "momentum", "eps", "weight_decay", "clip"):
            _require(0 <= getattr(self, name) < math.inf, self, name, "a finite number from 0")
        _require(all(0 <= beta < 1 for beta in self.betas), self, "betas", "two numbers from 0 to below 1")


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs on one mixture of data.

    Attributes:
        data: names of the datasets that are joined; `NAME` is its split `train`, `NAME:SPLIT` another
            (`voc:trainaug` is VOC with the masks of BSD).
        epochs: passes over them.
        lr_factor: multiplies both learning rates.
        aux_weight: weight of each auxiliary head's loss.
        freeze_bn: keep the statistics of batch norm as they are.
    """

    data: tuple[str, ...]
    epochs: int
    lr_factor: float = 1.0
    aux_weight: float = 0.3
    freeze_bn: bool = False

    def __post_init__(self) -> None:
        _require(len(self.data) > 0, self, "data", "at least one dataset")
        _require(self.epochs >= 1, self, "epochs", "at least 1")
        for name in ("lr_factor", "aux_weight"):
            _require(0 <= getattr(self, name) < math.inf, self, name, "a finite number from 0")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run but the network, the data's place, and the seed.

    Attributes:
        name: as `--recipe` takes it.
        task: kind of task it is for.
        phases: one after the other.
        encoder, decoder: how the two parts are updated.
        schedule: `constant`, `poly` (1 - epoch / horizon) ** power, or `step` (a tenth after each milestone).
        horizon: epochs at which poly would reach 0; 0 means the length of the run.
        power: of poly.
        milestones: epochs of the steps.
        batch: images per update, over all processes.
        crop: height and width of the training crop in pixels.
        scale: range of the random zoom.
        rotation: largest random rotation in degrees (pose).
        mirror: mirror every second image.
        polyak: decay of the running average of the weights that is evaluated and saved; 0 for none.
        distillation: weight of the l2 distance to a teacher's logits, where a teacher is given.
        val_size: input of validation for pose; other tasks keep their images' sizes.
    """

    name: str
    task: Literal["segmentation", "pose", "depth"]
    phases: tuple[Phase, ...]
    encoder: Optimiser
    decoder: Optimiser
    batch: int
    crop: tuple[int, int]
    schedule: Literal["constant", "poly", "step"] = "constant"
    horizon: int = 0
    power: float = 0.9
    milestones: tuple[int, ...] = ()
    scale: tuple[float, float] = (0.5, 2.0)
    rotation: float = 0.0
    mirror: bool = True
    polyak: float = 0.0
    distillation: float = 0.3
    val_size: tuple[int, int] = (256, 256)

    def __post_init__(self) -> None:
        _require(self.batch >= 1, self, "batch", "at least 1")
        for name in ("crop", "val_size"):
            _require(min(getattr(self, name)) >= 1, self, name, "at least 1 pixel high and wide")
        _require(0 < self.scale[0] <= self.scale[1] < math.inf, self, "scale", "two rising numbers above 0")
        _require(0 <= self.polyak < 1, self, "polyak", "from 0 to below 1")
        for name in ("power", "distillation", "rotation"):
            _require(0 <= getattr(self, name) < math.inf, self, name, "a finite number from 0")
        late = self.horizon >= self.epochs or not self.horizon
        _require(late or self.schedule != "poly", self, "horizon", f"0, or at least the run's {self.epochs} epochs")

    @property
    def epochs(self) -> int:
        """Length of the whole run."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> Phase:
        """The phase that epoch 0, 1, ... belongs to."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase
            epoch -= phase.epochs
        raise IndexError("the recipe has no such epoch")

    def lr_factor(self, epoch: int) -> float:
        """What multiplies both learning rates in epoch 0, 1, ..."""
        factor = self.phase_at(epoch).lr_factor
        if self.schedule == "poly":
            return factor * (1 - epoch / (self.horizon or self.epochs)) ** self.power
        if self.schedule == "step":
            return factor * 0.1 ** sum(epoch >= milestone for milestone in self.milestones)
        return factor

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


_SGD, _ADAM = Optimiser("sgd", 1e-3), Optimiser("adam", 3e-3)

_VOC = Recipe(
    name="voc",
    task="segmentation",
    # The four auxiliary weights belong to the three phases and the second half of the last.
    phases=(
        Phase(("coco", "voc:trainaug"), 30, 1.0, 0.3),
        Phase(("voc:trainaug",), 50, 0.5, 0.25),
        Phase(("voc",), 50, 0.25, 0.2),
        Phase(("voc",), 50, 0.125, 0.15, freeze_bn=True),
    ),
    encoder=_SGD,
    decoder=_ADAM,
    batch=64,
    crop=(450, 450),
)

_POSE_ADAM = Optimiser("adam", 1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

_MPII = Recipe(
    name="mpii",
    task="pose",
    phases=(Phase(("mpii",), 140),),
    encoder=_POSE_ADAM,
    decoder=_POSE_ADAM,
    schedule="step",
    milestones=(90, 120),
    batch=128,
    crop=(256, 256),
    scale=(0.75, 1.25),
    rotation=30.0,
)

# Ours, for a first try: about ten minutes on two cores.
_SYNTHETIC = Recipe(
    name="synthetic",
    task="segmentation",
    phases=(Phase(("synthetic",), 5, 1.0, 0.15),),
    encoder=Optimiser("sgd", 1e-2, clip=3.0),
    decoder=Optimiser("adam", 3e-3, clip=3.0),
    schedule="poly",
    batch=16,
    crop=(128, 128),
    scale=(0.75, 1.5),
    polyak=0.98,
    val_size=(128, 128),
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _VOC,
        # Sect. 4.2 trains on BSD + VOC, then on VOC, without averages or distillation.
        replace(
            _VOC,
            name="voc-ablation",
            phases=(Phase(("voc:trainaug",), 20, 1.0, 0.3), Phase(("voc",), 30, 0.5, 0.25)),
            distillation=0.0,
        ),
        Recipe(
            name="cityscapes",
            task="segmentation",
            phases=(Phase(("cityscapes",), 500),),
            encoder=Optimiser("sgd", 1e-2),
            decoder=Optimiser("sgd", 5e-2),
            schedule="poly",
            batch=20,
            crop=(800, 800),
        ),
        Recipe(
            name="nyud",
            task="depth",
            phases=(Phase(("nyud",), 300),),
            encoder=Optimiser("sgd", 1e-3),
            decoder=Optimiser("sgd", 7e-3),
            schedule="poly",
            horizon=400,
            batch=32,
            crop=(500, 500),
        ),
        _MPII,
        replace(
            _MPII,
            name="coco-pose",
            phases=(Phase(("coco",), 140),),
            crop=(256, 192),
            val_size=(256, 192),
            scale=(0.7, 1.3),
            rotation=40.0,
        ),
        # Ours: small sets and a laptop's patience. Fewer, smaller steps; averages make short runs steadier.
        Recipe(
            name="camvid",
            task="segmentation",
            phases=(Phase(("camvid",), 60, 1.0, 0.15),),
            encoder=Optimiser("sgd", 1e-2, clip=3.0),
            decoder=Optimiser("adam", 3e-3, clip=3.0),
            schedule="poly",
            batch=8,
            crop=(320, 320),
            scale=(0.7, 2.0),
            polyak=0.98,
        ),
        Recipe(
            name="nyud-small",
            task="depth",
            phases=(Phase(("nyud",), 40, 1.0, 0.15),),
            encoder=Optimiser("sgd", 1e-2, clip=3.0),
            decoder=Optimiser("adam", 3e-3, clip=3.0),
            schedule="poly",
            batch=8,
            crop=(192, 256),
            scale=(1.0, 1.5),
            polyak=0.98,
        ),
        Recipe(
            name="pose-small",
            task="pose",
            phases=(Phase(("keypoints",), 60, 1.0, 0.15),),
            encoder=Optimiser("adam", 3e-4, betas=(0.9, 0.999), eps=1e-8, clip=3.0),
            decoder=Optimiser("adam", 1e-3, betas=(0.9, 0.999), eps=1e-8, clip=3.0),
            schedule="poly",
            batch=16,
            crop=(256, 256),
            scale=(0.75, 1.25),
            rotation=30.0,
            polyak=0.98,
        ),
        _SYNTHETIC,
        replace(_SYNTHETIC, name="synthetic-depth", task="depth"),
        replace(_SYNTHETIC, name="synthetic-pose", task="pose"),
    )
}
"""Name -> recipe."""

USUAL: dict[tuple[str, str], str] = {
    ("voc", "segmentation"): "voc",
    ("cityscapes", "segmentation"): "cityscapes",
    ("camvid", "segmentation"): "camvid",
    ("folder", "segmentation"): "camvid",
    ("nyud", "depth"): "nyud",
    ("folder", "depth"): "nyud-small",
    ("mpii", "pose"): "mpii",
    ("coco", "pose"): "coco-pose",
    ("keypoints", "pose"): "pose-small",
    ("synthetic", "segmentation"): "synthetic",
    ("synthetic", "depth"): "synthetic-depth",
    ("synthetic", "pose"): "synthetic-pose",
}
"""The recipe for a dataset and kind of task when none is named."""


def override(recipe: Recipe, assignments: tuple[str, ...]) -> Recipe:
    """A copy with fields set from text: `batch=8`, `decoder.lr=0.01`, `phases.0.epochs=5`, `crop=320,320`.

    Raises:
        FastnasError: no such field, or a value of another type; the message lists the fields.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise FastnasError(f"{assignment!r} is not FIELD=VALUE, such as decoder.lr=0.01")
        recipe = _set(recipe, path.split("."), text, assignment)
    return recipe


def _set(value: Any, path: list[str], text: str, assignment: str) -> Any:
    """`value` with the field at `path` read from `text`."""
    name, *rest = path
    if isinstance(value, tuple):
        if not name.isdigit() or int(name) >= len(value):
            raise FastnasError(f"{assignment}: {name!r} is not one of 0..{len(value) - 1}")
        at = int(name)
        if not rest:
            raise FastnasError(f"{assignment}: name a field of {value[at].__class__.__name__.lower()} {at}")
        return (*value[:at], _set(value[at], rest, text, assignment), *value[at + 1 :])
    names = [field.name for field in fields(value)]
    if name not in names:
        raise FastnasError(f"{assignment}: no field {name!r}; there are {', '.join(names)}")
    old = getattr(value, name)
    if rest:
        if not is_dataclass(old) and not isinstance(old, tuple):
            raise FastnasError(f"{assignment}: {name} has no fields")
        return replace(value, **{name: _set(old, rest, text, assignment)})
    return replace(value, **{name: _read(get_type_hints(type(value))[name], text, assignment)})


def _read(kind: Any, text: str, assignment: str) -> Any:
    """Text as a value of an annotated type."""
    arguments = get_args(kind)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float, str):
            return kind(text)
        if arguments and all(isinstance(choice, str) for choice in arguments):  # Literal
            return {choice: choice for choice in arguments}[text]
        if arguments and arguments[0] in (int, float, str):
            items = tuple(arguments[0](item) for item in text.split(",") if item)
            if arguments[-1] is Ellipsis or len(items) == len(arguments):
                return items
    except (KeyError, ValueError):
        pass
    raise FastnasError(f"{assignment}: {text!r} is not {_describe(kind, arguments)}")


def _describe(kind: Any, arguments: tuple[Any, ...]) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if kind in words:
        return words[kind]
    if not arguments or is_dataclass(arguments[0]):
        return "something that one assignment can set: name a field of it, such as decoder.lr or phases.0.epochs"
    if isinstance(arguments[0], str):
        return f"one of {', '.join(arguments)}"
    separated = "separated by commas"
    return (
        f"{words[arguments[0]]} or several {separated}"
        if arguments[-1] is Ellipsis
        else f"{len(arguments)} numbers {separated}"
    )
