"""The settings of a search, as `settings.json` of its run folder has them.

The defaults are the paper's (Sects 3.2 and 4) or, where it is silent, what its authors' public implementation uses.
docs/search.md lists what differs, and what was measured for the controller's settings, of which the paper says little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fastnas.config import SettingError, Settings, setting
from fastnas.data import DataName

if TYPE_CHECKING:
    from fastnas.data import DenseDataset

SLOWEST, FASTEST = 1e-4, 3e-3
"""Range of the controller's learning rate by budget; the lower end is the paper's."""


def learning_rate(candidates: int | None) -> float:
    """The controller's learning rate for a budget of candidates: 0.5 / budget, within limits; None is taken as 500.

    A high rate learns from few candidates, and settles on one architecture long before thousands are used.
    """
    return min(max(0.5 / (candidates or 500), SLOWEST), FASTEST)


@dataclass(frozen=True)
class PolicySettings(Settings):
    """How architectures are proposed."""

    strategy: Literal["ppo", "reinforce", "random", "evolution", "predictor"] = setting(
        "ppo",
        "ppo and reinforce train a controller, random samples uniformly, evolution mutates the best of the latest, "
        "predictor ranks a pool by predicted reward.",
    )
    learning_rate: float | None = setting(
        None, "Adam's learning rate for the controller; by default by the budget (1e-4 in the paper).", 0
    )
    clip: float = setting(0.1, "PPO: range of the probability ratio, 1 - clip to 1 + clip.", 0, 1)
    epochs: int = setting(4, "PPO: passes over each batch of results.", 1)
    batch: int = setting(4, "Results per update of the controller, or of the predictor.", 1)
    baseline_decay: float = setting(0.95, "Decay of the reward baseline, per evaluated candidate.", 0, 1)
    gradient_norm: float = setting(2.0, "Largest gradient norm of the controller.", 0)
    entropy_bonus: float = setting(
        0.0005, "Weight of the policy's entropy, in standard deviations of the reward per nat of a genotype.", 0
    )
    population: int = setting(32, "Evolution: the latest evaluated candidates that are bred from.", 1)
    tournament: int = setting(8, "Evolution: how many of them are sampled, of which the best is mutated.", 1)
    random_start: int = setting(24, "Predictor: results before the first prediction.", 2)
    pool: int = setting(200, "Predictor: architectures that are ranked for each candidate.", 2)


@dataclass(frozen=True)
class StopSettings(Settings):
    """Which candidates are stopped early."""

    rule: Literal["paper", "public", "halving", "never"] = setting(
        "paper",
        "paper: below the running mean of stage-1 rewards, stop with probability 1 - p; "
        "public: that of the authors' code, but for its first mean; halving: successive halving, also within stage 1; "
        "never: all candidates reach stage 2.",
    )
    start: float = setting(0.9, "The rule's slack (p, or the public rule's delta) at the start of the search.", 0, 1)
    reduction: int = setting(3, "halving: of so many candidates at a rung one goes on.", 2)


@dataclass(frozen=True)
class EvaluationSettings(Settings):
    """How a candidate is trained and evaluated."""

    encoder: str = setting("mobilenet_v2", "Encoder by name.")
    encoder_weights: str = setting(
        "imagenet", "imagenet, scenes (a minute of training on generated scenes), none, a file, or a model."
    )
    channels: int = setting(48, "Channels C of the decoder.", 1)
    sep_repeats: int = setting(1, "Repeats R of the separable operations.", 1)
    teacher: str = setting(
        "", "Teacher of the knowledge distillation: MODEL.safetensors, MODEL.onnx or torchvision/NAME."
    )
    validation_share: float = setting(0.1, "Share of the training images held out to compute the reward.", 0.01, 0.9)
    stage1_images: int = setting(4000, "Training images of stage 1, at most; their encoder outputs are cached.", 2)
    stage1_views: int = setting(1, "Random crops of each image whose encoder outputs are cached.", 1)
    stage1_epochs: int = setting(5, "Epochs of the decoder alone, on cached encoder outputs.", 1)
    stage1_batch: int = setting(64, "Batch size of stage 1.", 2)
    stage1_crop: int = setting(256, "Side of stage 1's square crops, in pixels.", 32)
    stage1_short_side: int = setting(300, "Shorter side of the images before stage 1's crop, in pixels.", 32)
    stage2_epochs: int = setting(1, "Epochs of the whole network; 0 leaves stage 2 out.", 0)
    stage2_batch: int = setting(32, "Batch size of stage 2.", 2)
    stage2_crop: int = setting(
        350, "Side of stage 2's square crops, and of those that both stages are evaluated on, in pixels.", 32
    )
    stage2_short_side: int = setting(400, "Shorter side of the images before these crops, in pixels.", 32)
    scale_low: float = setting(0.7, "Smallest factor of random scaling, of the training images.", 0.1)
    scale_high: float = setting(1.4, "Largest factor of random scaling.", 0.1)
    precision: Literal["fp32", "bf16"] = setting(
        "fp32", "bf16 is mixed precision: faster where the hardware supports it."
    )
    decoder_lr: float = setting(3e-3, "Adam's learning rate for the decoder.", 0)
    encoder_lr: float = setting(1e-3, "SGD's learning rate for the encoder, in stage 2.", 0)
    encoder_momentum: float = setting(0.9, "SGD's momentum for the encoder.", 0, 1)
    weight_decay: float = setting(1e-5, "Weight decay of both optimisers.", 0)
    gradient_norm: float = setting(
        3.0, "Largest gradient norm of the encoder, and of the decoder; 0 for no clipping.", 0
    )
    polyak: bool = setting(
        True, "Evaluate the exponential moving average (EMA) of the weights instead of the final weights."
    )
    polyak_stage1: float = setting(
        0.9,
        "Decay of the EMA of the decoder in stage 1; after n steps at most (1 + n) / (10 + n).",
        0,
        1,
    )
    polyak_stage2: float = setting(
        0.99, "Decay of the EMA of the network in stage 2; after n steps at most (1 + n) / (3 + n).", 0, 1
    )
    auxiliary: bool = setting(True, "Train with auxiliary heads.")
    auxiliary_weight: float = setting(0.15, "Weight of the auxiliary losses.", 0)
    distillation: bool = setting(True, "Knowledge distillation in stage 1, where a teacher is given.")
    distillation_weight: float = setting(0.3, "Weight of the distillation loss.", 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale_low > self.scale_high:
            raise SettingError("scale_low", f"must be <= scale_high ({self.scale_high}), not {self.scale_low}")


@dataclass(frozen=True)
class LimitSettings(Settings):
    """What an architecture may cost, and how its cost changes its reward."""

    parameters: float | None = setting(None, "Refuse architectures with more parameters than this, in millions.", 0)
    madds: float | None = setting(None, "Refuse architectures with more multiply-adds than this, in G (10^9).", 0)
    latency: float | None = setting(None, "Refuse architectures slower than this, in milliseconds.", 0)
    latency_host: str | None = setting(
        None, "USER@HOST[:PORT]: measure latency there, over SSH, instead of on this machine."
    )
    latency_precision: Literal["fp32", "fp16"] = setting(
        "fp16", "Precision of the measurement there; on this machine it is fp32."
    )
    resolution: int = setting(512, "Side of the square input that multiply-adds and latency are for, in pixels.", 32)
    target_latency: float | None = setting(
        None, "Lower the rewards of architectures slower than this; in milliseconds, 0 for no target.", 0
    )
    target_madds: float | None = setting(
        None,
        "Lower those of architectures with more multiply-adds than this; in G, 0 for no target. fastnas search takes "
        "arch0's where neither a target nor a limit of latency or multiply-adds is given.",
        0,
    )
    cost_weight: float = setting(
        0.1, "What is subtracted from the reward of an architecture that costs twice the target, and so on.", 0
    )
    latency_exponent: float = setting(
        0.0, "Multiply rewards by (latency / target)^exponent, too (MnasNet's soft form, -0.07 there).", -10, 0
    )

    @property
    def needs_latency(self) -> bool:
        """Whether a limit or the reward asks for the latency of candidates."""
        return self.latency is not None or bool(self.target_latency)


@dataclass(frozen=True)
class SearchSettings(Settings):
    """All settings of a search, except the path of its run folder."""

    data: str = setting("synthetic", "Dataset: NAME is its split train, NAME:SPLIT another.")
    root: str | None = setting(None, "Folder of the dataset.")
    task: str | None = setting(None, "segmentation, pose or depth, where the dataset has labels for several.")
    images: int | None = setting(None, "Training images to use, at most, evenly spread.", 4)
    seed: int = setting(0, "Seed of all randomness in the search.", 0, 2**63 - 1)
    candidates: int | None = setting(None, "Stop after this many candidates.", 1)
    hours: float | None = setting(None, "Stop after this many hours.", 0)
    policy: PolicySettings = setting(PolicySettings(), "How architectures are proposed.")
    stop: StopSettings = setting(StopSettings(), "Which candidates are stopped early.")
    evaluation: EvaluationSettings = setting(EvaluationSettings(), "How a candidate is trained and evaluated.")
    limits: LimitSettings = setting(
        LimitSettings(), "What an architecture may cost, and how its cost changes its reward."
    )

    def open_data(self) -> DenseDataset:
        """The dataset, its split train where the name has none.

        Raises:
            FastnasError: it is not there.
        """
        return DataName.parse(self.data).open_at(self.root, "train", self.task)


def with_learning_rate(settings: SearchSettings) -> SearchSettings:
    """The settings of a search that begins: a learning rate that is not given is chosen by the budget."""
    policy = settings.policy
    if policy.learning_rate is not None:
        return settings
    return replace(settings, policy=replace(policy, learning_rate=learning_rate(settings.candidates)))
