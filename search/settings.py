"""Every setting of a search: a typed field, its bounds and a sentence. `settings.json` of a run is exactly this.

The defaults are the paper's (Sects 3.2 and 4) or, where it is silent, what its authors' public implementation uses.
Ours are PPO's passes and batch, on which both are silent, and the controller's learning rate: the paper's 1e-4 suits
its thousands of candidates, and learns nothing from 150. On a noisy toy reward of all 19 decisions, the last 50 of 150
candidates earned on average (5 seeds) 0.427 at random, 0.429 with 1e-4 and batch 8, 0.454 with 1e-3, 0.513 with 3e-3,
and 0.561 with 3e-3 and batch 4.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fastnas.errors import FastnasError

T = TypeVar("T", bound="Group")


def setting(default: Any, sentence: str, minimum: float = -math.inf, maximum: float = math.inf) -> Any:
    """A dataclass field with the sentence that help shows, and inclusive bounds for numbers."""
    return field(default=default, metadata={"sentence": sentence, "minimum": minimum, "maximum": maximum})


@dataclass(frozen=True)
class Group:
    """Base of all settings: checks every field's type and bounds, and survives JSON unchanged."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for entry in dataclasses.fields(self):
            value = _checked(getattr(self, entry.name), hints[entry.name], entry.name)
            low, high = entry.metadata.get("minimum", -math.inf), entry.metadata.get("maximum", math.inf)
            if isinstance(value, int | float) and not low <= value <= high:
                raise FastnasError(f"setting {entry.name} must be {_bounds(low, high)}, not {value}")
            object.__setattr__(self, entry.name, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[T], values: Any) -> T:
        """The inverse of `to_dict`; a setting that is left out takes its default.

        Raises:
            FastnasError: a setting is unknown, of the wrong type or out of bounds; the message names it.
        """
        if not isinstance(values, dict):
            raise FastnasError(f"settings must be an object of names and values, not {values!r:.80}")
        hints = get_type_hints(cls)
        if unknown := sorted(str(name) for name in set(values) - set(hints)):
            raise FastnasError(f"unknown setting {unknown[0]!r}; known are {', '.join(hints)}")
        read = {}
        for name, value in values.items():
            hint = hints[name]
            read[name] = hint.from_dict(value) if isinstance(hint, type) and issubclass(hint, Group) else value
        return cls(**read)

    def to_json(self) -> str:
        """Indented JSON text, with a newline at the end."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls: type[T], text: str) -> T:
        """The inverse of `to_json`.

        Raises:
            FastnasError: the text is not JSON, or as in `from_dict`.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise FastnasError(f"settings are not JSON: {error}") from error
        return cls.from_dict(values)


@dataclass(frozen=True)
class PolicySettings(Group):
    """How architectures are proposed."""

    strategy: Literal["ppo", "reinforce", "random"] = setting(
        "ppo", "How the controller learns; random draws uniformly."
    )
    learning_rate: float = setting(3e-3, "Adam's learning rate for the controller; 1e-4 in the paper.", 0)
    clip: float = setting(0.1, "PPO: how far a probability ratio may leave 1.", 0, 1)
    epochs: int = setting(4, "PPO: passes over each batch of results.", 1)
    batch: int = setting(4, "Results per update of the controller.", 1)
    baseline_decay: float = setting(0.95, "Decay of the reward baseline, per result.", 0, 1)
    gradient_norm: float = setting(2.0, "Gradients of the controller are clipped to this norm.", 0)
    entropy_bonus: float = setting(0.0, "Weight of the policy's entropy, in reward per nat of a whole genotype.", 0)


@dataclass(frozen=True)
class StopSettings(Group):
    """Which candidates end after stage 1."""

    rule: Literal["paper", "public", "never"] = setting(
        "paper",
        "paper: below the running mean of stage-1 rewards, stop with probability 1 - p; "
        "public: the rule of the authors' implementation; never: all candidates reach stage 2.",
    )
    start: float = setting(0.9, "The rule's slack (p, or the public rule's delta) at the start of the search.", 0, 1)


@dataclass(frozen=True)
class EvaluationSettings(Group):
    """How one candidate is trained and scored."""

    encoder: str = setting("mobilenet_v2", "Encoder by name.")
    encoder_weights: str = setting("imagenet", "imagenet, scenes (a minute on generated ones), none, or a file.")
    channels: int = setting(48, "Channels of the decoder.", 1)
    sep_repeats: int = setting(1, "Times a separable operation is repeated.", 1)
    teacher: str = setting("", "Teacher for distillation: MODEL.safetensors, MODEL.onnx or torchvision/NAME.")
    validation_share: float = setting(0.1, "Share of the training images held out to compute the reward.", 0.01, 0.9)
    stage1_images: int = setting(4000, "Most images whose encoder outputs are computed once for stage 1.", 2)
    stage1_views: int = setting(1, "Random crops of each image whose encoder outputs are stored.", 1)
    stage1_epochs: int = setting(5, "Epochs of the decoder alone, on stored encoder outputs.", 1)
    stage1_batch: int = setting(64, "Images per step of stage 1.", 2)
    stage1_crop: int = setting(256, "Side of stage 1's square crops, in pixels.", 32)
    stage1_short_side: int = setting(300, "Shorter side images are brought to before stage 1's crop, in pixels.", 32)
    stage2_epochs: int = setting(1, "Epochs end to end; 0 leaves stage 2 out.", 0)
    stage2_batch: int = setting(32, "Images per step of stage 2.", 2)
    stage2_crop: int = setting(350, "Side of stage 2's square crops, in pixels.", 32)
    stage2_short_side: int = setting(400, "Shorter side images are brought to before stage 2's crop, in pixels.", 32)
    scale_low: float = setting(0.7, "Smallest random scale of the training images.", 0.1)
    scale_high: float = setting(1.4, "Largest random scale of the training images.", 0.1)
    precision: Literal["fp32", "bf16"] = setting("fp32", "bf16 multiplies in bfloat16: faster where hardware has it.")
    decoder_lr: float = setting(3e-3, "Adam's learning rate for the decoder.", 0)
    encoder_lr: float = setting(1e-3, "SGD's learning rate for the encoder, in stage 2.", 0)
    encoder_momentum: float = setting(0.9, "SGD's momentum for the encoder.", 0, 1)
    weight_decay: float = setting(1e-5, "Weight decay of both optimisers.", 0)
    gradient_norm: float = setting(3.0, "Gradients of encoder and decoder are each clipped to this norm.", 0)
    polyak: bool = setting(True, "Validate the running average of the weights, not the last ones.")
    polyak_stage1: float = setting(0.9, "Decay of the decoder's average in stage 1.", 0, 1)
    polyak_stage2: float = setting(0.99, "Decay of the network's average in stage 2.", 0, 1)
    auxiliary: bool = setting(True, "Train auxiliary cells beside the decoder.")
    auxiliary_weight: float = setting(0.15, "Weight of the auxiliary losses.", 0)
    distillation: bool = setting(True, "Pull stage 1's logits towards a teacher's, where a teacher is given.")
    distillation_weight: float = setting(0.3, "Weight of the distance to the teacher's logits.", 0)


@dataclass(frozen=True)
class LimitSettings(Group):
    """What an architecture may cost, and what cost does to its reward."""

    parameters: float | None = setting(None, "Refuse architectures with more parameters than this, in millions.", 0)
    madds: float | None = setting(None, "Refuse architectures with more multiply-adds, in thousand millions (G).", 0)
    latency: float | None = setting(None, "Refuse architectures slower than this, in milliseconds.", 0)
    latency_host: str | None = setting(None, "USER@HOST[:PORT] to measure latency on over SSH, not on this machine.")
    latency_precision: Literal["fp32", "fp16"] = setting("fp16", "Precision there; this machine's CPU runs fp32.")
    resolution: int = setting(512, "Side of the square image that cost is counted and measured at, in pixels.", 32)
    target_latency: float | None = setting(
        None, "Weigh rewards by (latency / target)^exponent, in milliseconds.", 0.001
    )
    latency_exponent: float = setting(-0.07, "Exponent of that weight (MnasNet's soft form).", -10, 0)


@dataclass(frozen=True)
class SearchSettings(Group):
    """Everything a search does, but for where its run folder lies."""

    data: str = setting("synthetic", "Dataset by name.")
    root: str | None = setting(None, "Folder of the dataset.")
    task: str | None = setting(None, "segmentation, pose or depth, where the dataset has several.")
    images: int | None = setting(None, "Most training images to use, evenly spread.", 4)
    seed: int = setting(0, "Seed of everything random in the search.", 0, 2**63 - 1)
    candidates: int | None = setting(None, "Stop after this many candidates.", 1)
    hours: float | None = setting(None, "Stop after this many hours.", 0)
    policy: PolicySettings = field(default_factory=PolicySettings)
    stop: StopSettings = field(default_factory=StopSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)


def _checked(value: Any, hint: Any, name: str) -> Any:
    """The value as its type, a whole number where a float is wanted becoming one; or an error that names the field."""
    origin = get_origin(hint)
    options = get_args(hint)
    if origin is Literal:
        if not isinstance(value, str) or value not in options:
            raise FastnasError(f"setting {name} must be one of {', '.join(options)}, not {value!r:.80}")
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _checked(value, next(o for o in options if o is not types.NoneType), name)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise FastnasError(f"setting {name} must be {_PLAIN.get(hint, hint.__name__)}, not {value!r:.80}")
    if isinstance(value, float) and not math.isfinite(value):
        raise FastnasError(f"setting {name} must be a finite number, not {value}")
    return value


_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _bounds(low: float, high: float) -> str:
    if high == math.inf:
        return f"at least {low:g}"
    return f"from {low:g} to {high:g}"
