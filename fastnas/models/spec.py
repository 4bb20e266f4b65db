"""The description of a model: everything that decides the shape of its network, and how to build it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from fastnas import shelf
from fastnas.errors import FastnasError
from fastnas.jetson.checks import CHANNELS, NAME, REPEATS, Fields
from fastnas.models.baselines.registry import BASELINES, baseline_encoder, make_baseline
from fastnas.models.decoder import Auxiliary, Decoder
from fastnas.models.encoder import PublicMobileNetV2, make_encoder
from fastnas.models.genotype import Genotype, is_genotype_text
from fastnas.models.network import Network
from fastnas.models.zoo import ZOO
from fastnas.tasks import Task, task_from_dict

Definition = Literal["fastnas", "public"]
"""Whose network a genotype describes: ours, or that of the paper's public code, which differs a little."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything that decides the shape of a network.

    Attributes:
        architecture: a name of the zoo or of a baseline, or a genotype as text, which is kept in the paper's order.
        task: what the network predicts.
        encoder: see `fastnas.models.encoder.make_encoder`. A baseline sets it by its name.
        channels: C of the decoder (48 in the paper's search, 64 in full training).
        sep_repeats: R of the separable operations (1 in search, 2 in full training).
        aux: auxiliary heads, in training only.
        definition: `public` builds a genotype as the paper's public code does, for weights that were trained there: on
            its own MobileNet-v2 (`PublicMobileNetV2`), with `stepwise` sums (`Decoder`).
    """

    architecture: str
    task: Task
    encoder: str = "mobilenet_v2"
    channels: int = 64
    sep_repeats: int = 2
    aux: Auxiliary = "none"
    definition: Definition = "fastnas"

    def __post_init__(self) -> None:
        if self.aux not in get_args(Auxiliary):
            raise FastnasError(f"auxiliary heads {self.aux!r} are not one of {', '.join(get_args(Auxiliary))}")
        if self.definition not in get_args(Definition):
            raise FastnasError(f"definition {self.definition!r:.80} is not one of {', '.join(get_args(Definition))}")
        if self.definition == "public" and self.encoder != ModelSpec.encoder:
            raise FastnasError(f"the public definition has the encoder {ModelSpec.encoder}, not {self.encoder!r:.80}")
        values = Fields(vars(self), "model")
        values.take("architecture", str), values.take("encoder", str, within=NAME)
        values.take("channels", int, within=CHANNELS), values.take("sep_repeats", int, within=REPEATS)
        if is_genotype_text(self.architecture):
            object.__setattr__(self, "architecture", str(Genotype.parse(self.architecture)))
        if self.architecture in BASELINES:
            self._set_baseline()

    def _set_baseline(self) -> None:
        """Set the encoder of a baseline, and refuse values that differ from its fixed shape."""
        own = baseline_encoder(self.architecture)
        allowed = {
            "encoder": (own, ModelSpec.encoder),
            "channels": (ModelSpec.channels,),
            "sep_repeats": (ModelSpec.sep_repeats,),
            "aux": (ModelSpec.aux,),
            "definition": (ModelSpec.definition,),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise FastnasError(
                    f"the baseline {self.architecture} has a fixed shape: leave {name} at {values[0]!r}, "
                    f"not {getattr(self, name)!r}"
                )
        object.__setattr__(self, "encoder", own)

    @property
    def name(self) -> str:
        """A name for files: the architecture's, with hyphens for slashes.

        For a genotype, `genotype-` and the first eight digits of its SHA-256.
        """
        if not is_genotype_text(self.architecture):
            return self.architecture.replace("/", "-")
        return f"genotype-{hashlib.sha256(self.architecture.encode()).hexdigest()[:8]}"

    @property
    def genotype(self) -> Genotype | None:
        """The genotype; None for a baseline.

        Raises:
            FastnasError: there is no architecture of that name.
        """
        if self.architecture in BASELINES:
            return None
        if is_genotype_text(self.architecture):
            return Genotype.parse(self.architecture)
        if self.architecture not in ZOO:
            known = ", ".join((*ZOO, *BASELINES))
            trained = "".join(f", {name}" for name in shelf.entries())
            raise FastnasError(
                f"no architecture {self.architecture!r}; known are {known}, or give a genotype"
                + (f"; trained models are {trained[2:]}" if trained else "")
            )
        return ZOO[self.architecture]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "task": self.task.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """The inverse of `to_dict`.

        Raises:
            FastnasError: a field is missing, unknown or out of range.
        """
        try:
            return cls(**{**values, "task": task_from_dict(values["task"])})
        except (KeyError, TypeError) as error:
            raise FastnasError(f"not the description of a model: {error}") from error


def build(spec: ModelSpec, encoder_weights: str | Path = "none") -> Network:
    """The network of a description.

    Args:
        spec: what to build.
        encoder_weights: `imagenet`, a file, or `none`; see `fastnas.models.encoder.make_encoder`.

    Raises:
        FastnasError: the architecture or encoder is unknown, or its weights cannot be loaded.
    """
    genotype = spec.genotype
    if genotype is None:
        return make_baseline(spec.architecture, spec.task.outputs, encoder_weights)
    public = spec.definition == "public"
    if public and encoder_weights != "none":
        raise FastnasError("the encoder of the public definition has no weights of its own: import a whole model")
    encoder = PublicMobileNetV2() if public else make_encoder(spec.encoder, encoder_weights)
    decoder = Decoder(
        genotype,
        encoder.channels,
        spec.channels,
        spec.sep_repeats,
        spec.task.outputs,
        spec.aux,
        spec.task.head_stds,
        stepwise=public,
    )
    return Network(encoder, decoder)


def build_on_meta(spec: ModelSpec) -> Network:
    """The network of a description on torch's meta device, without weights: enough to count it, and quick."""
    with torch.device("meta"):
        return build(spec)
