"""The settings of a training run, as `settings.json` of its run folder has them, and those of a recipe within it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fastnas.config import REQUIRED, SettingError, Settings, setting
from fastnas.data import DataName, DenseDataset
from fastnas.data.base import Subset, largest_people
from fastnas.errors import FastnasError
from fastnas.models.spec import ModelSpec
from fastnas.tasks import TASKS, Multi
from fastnas.tasks.multi import LOSS_WEIGHTS


@dataclass(frozen=True)
class Optimiser(Settings):
    """How the encoder or the decoder is updated."""

    kind: Literal["sgd", "adam"] = setting(REQUIRED, "Algorithm.")
    lr: float = setting(REQUIRED, "Learning rate, before the factors of phase and schedule.", 0)
    momentum: float = setting(0.9, "Momentum of SGD.", 0)
    betas: tuple[float, float] = setting((0.9, 0.99), "Decay rates of Adam's two averages.", 0, below=1)
    eps: float = setting(1e-3, "Adam's epsilon.", 0)
    weight_decay: float = setting(1e-5, "L2 penalty.", 0)
    clip: float = setting(0.0, "Largest gradient norm; 0 for no clipping.", 0)


@dataclass(frozen=True)
class Phase(Settings):
    """Epochs on one mixture of datasets."""

    data: tuple[str, ...] = setting(
        REQUIRED,
        "Datasets that are joined: NAME is its split train, NAME:SPLIT another (voc:trainaug is VOC with the masks of "
        "SBD); NAME@LABEL is the one in the root of that label, KIND=NAME its labels for a kind of task. One that is "
        "named twice counts twice; of several tasks, each gets the same share of every batch.",
    )
    epochs: int = setting(REQUIRED, "Passes over the data.", 1)
    lr_factor: float = setting(1.0, "Factor of both learning rates.", 0)
    aux_weight: float = setting(0.3, "Weight of the loss of each auxiliary head.", 0)
    freeze_bn: bool = setting(False, "Keep the statistics of batch norm fixed.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data:
            raise SettingError("data", "must name at least one dataset")


@dataclass(frozen=True)
class Recipe(Settings):
    """Everything that decides a training run except the network, the data's folders and the seed."""

    name: str = setting(REQUIRED, "Name, as --recipe takes it.")
    task: Literal["segmentation", "pose", "depth", "multi"] = setting(REQUIRED, "Kind of task it is for.")
    phases: tuple[Phase, ...] = setting(REQUIRED, "Phases of the training, in their order.")
    encoder: Optimiser = setting(REQUIRED, "How the encoder is updated.")
    decoder: Optimiser = setting(REQUIRED, "How the decoder is updated.")
    batch: int = setting(REQUIRED, "Batch size, over all processes.", 1)
    crop: tuple[int, int] = setting(REQUIRED, "Height and width of the training crop, in pixels.", 1)
    schedule: Literal["constant", "poly", "step"] = setting(
        "constant",
        "Factor of the learning rates: poly is (1 - epoch / horizon)^power, step a tenth after each milestone.",
    )
    horizon: int = setting(0, "poly: epoch at which the learning rates reach 0; 0 is the end of the run.", 0)
    power: float = setting(0.9, "poly: its exponent.", 0)
    milestones: tuple[int, ...] = setting((), "step: epochs of the steps.", 0)
    scale: tuple[float, float] = setting((0.5, 2.0), "Range of random scaling.", 0.001)
    rotation: float = setting(0.0, "Pose: largest angle of random rotation, in degrees.", 0)
    mirror: bool = setting(True, "Random horizontal flips.")
    freeze_encoder: bool = setting(
        False, "Train the decoder alone, on the encoder as it is: less accurate, in about half the time."
    )
    polyak: float = setting(
        0.0,
        "Decay of the exponential moving average (EMA) of the weights, which is evaluated and saved; 0 for none.",
        0,
        below=1,
    )
    distillation: float = setting(0.3, "Weight of the distillation loss, where a teacher is given.", 0)
    loss_weights: tuple[float, float, float] = setting(
        tuple(LOSS_WEIGHTS[kind] for kind in TASKS),
        f"Several tasks: weights of the losses of {', '.join(TASKS)}, where there are these.",
        0,
    )
    depth_by_zoom: bool = setting(
        True,
        "Depth: divide depths by the factor of random scaling, for what is enlarged looks nearer; or keep the metres.",
    )
    val_size: tuple[int, int] = setting((256, 256), "Pose: height and width of the network's input in validation.", 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.phases:
            raise SettingError("phases", "must hold at least one phase")
        if self.scale[0] > self.scale[1]:
            raise SettingError("scale", f"must be two rising numbers, not {list(self.scale)}")
        if self.schedule == "poly" and 0 < self.horizon < self.epochs:
            raise SettingError("horizon", f"must be 0 or >= the {self.epochs} epochs of the run, not {self.horizon}")

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the losses by kind of task."""
        return dict(zip(TASKS, self.loss_weights, strict=True))

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return sum(phase.epochs for phase in self.phases)

    def on(self, data: tuple[str, ...]) -> Recipe:
        """The recipe for these datasets: a single phase takes them; of several, one must have them already.

        Without their splits, names mean the splits that the phase names.

        Raises:
            FastnasError: there are several phases, all on other data.
        """
        for phase in self.phases:
            if data in (phase.data, tuple(name.partition(":")[0] for name in phase.data)):
                return self
        if len(self.phases) > 1:
            raise FastnasError(
                f"the {len(self.phases)} phases of recipe {self.name} name their own data, and none is "
                f"{','.join(data)}: use --set phases.0.data=NAME:SPLIT and so on, or a recipe of one phase"
            )
        return replace(self, phases=(replace(self.phases[0], data=data),))

    def phase_at(self, epoch: int) -> Phase:
        """The phase of epoch 0, 1, ..."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase
            epoch -= phase.epochs
        raise IndexError("the recipe has no such epoch")

    def lr_factor(self, epoch: int) -> float:
        """The factor of both learning rates in epoch 0, 1, ..."""
        factor = self.phase_at(epoch).lr_factor
        if self.schedule == "poly":
            return factor * (1 - epoch / (self.horizon or self.epochs)) ** self.power
        if self.schedule == "step":
            return factor * 0.1 ** sum(epoch >= milestone for milestone in self.milestones)
        return factor


@dataclass(frozen=True)
class RunSettings(Settings):
    """Everything that decides the result of a run, except rounding."""

    model: ModelSpec = setting(REQUIRED, "The network.")
    recipe: Recipe = setting(REQUIRED, "How it is trained.")
    roots: dict[str, str] = setting(REQUIRED, "Folder of each dataset, by NAME or NAME@LABEL.")
    val: str = setting(
        REQUIRED, "Datasets that are evaluated, with commas between: NAME is its split val, NAME:SPLIT another."
    )
    encoder_weights: str = setting(REQUIRED, "imagenet, a file, a model, or none.")
    init: str = setting("", "Model whose weights the run begins with: a name, or MODEL.safetensors; empty for none.")
    teacher: str = setting("", "MODEL.safetensors, MODEL.onnx or torchvision/NAME; empty for no distillation.")
    seed: int = setting(0, "Seed of the weights, the order of the data, and the transforms.", 0, 2**32 - 1)
    limit: int = setting(0, "Samples of each training dataset, evenly spread; 0 for all.", 0)
    val_limit: int = setting(0, "Samples that are evaluated, evenly spread; 0 for all.", 0)
    precision: Literal["fp32", "bf16", "fp16"] = setting("fp32", "bf16 and fp16 are mixed precision.")
    accumulate: int = setting(1, "Gradient accumulation steps per batch; batch norm sees each step's images alone.", 1)
    eval_every: int = setting(1, "Epochs between evaluations.", 1)

    def open_train(self, name: str) -> DenseDataset:
        """A training dataset by its name in the recipe's phases."""
        return self._open(name, "train", self.limit)

    def open_val(self) -> list[DenseDataset]:
        """The datasets that are evaluated."""
        return [self._open(name, "val", self.val_limit) for name in self.val.split(",")]

    def _open(self, name: str, split: str, limit: int) -> DenseDataset:
        several = isinstance(self.model.task, Multi)
        dataset = DataName.parse(name).open(self.roots, split, None if several else self.model.task.kind)
        # Of an image with several people only the largest one's joints are what a network of several tasks predicts.
        return limited(largest_people(dataset) if several else dataset, limit)


def limited(dataset: DenseDataset, limit: int) -> DenseDataset:
    """At most `limit` samples, evenly spread; all of them for 0."""
    if not limit or limit >= len(dataset):
        return dataset
    return Subset(dataset, [i * len(dataset) // limit for i in range(limit)], dataset.split)
