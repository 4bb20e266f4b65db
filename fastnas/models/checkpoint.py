"""Models: the file `NAME.safetensors`, weights with a JSON header (`header.py`), and `open_model` for any text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fastnas import __version__
from fastnas.errors import FastnasError
from fastnas.models.header import FORMAT, read_model
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build, build_on_meta
from fastnas.storing import write_tensors
from fastnas.tasks import Task

FILE_NAME = "model.safetensors"
"""The name of the model file in every run folder."""

_AUXILIARY = "decoder.auxiliary."


@dataclass(frozen=True)
class Model:
    """A network and its description.

    Attributes:
        name: for titles and files: of the model file, of its run folder where that is `FILE_NAME`, or of the spec.
        spec: the description.
        network: in evaluation mode, without auxiliary heads.
        header: of the model file; empty for a network that comes from none.
    """

    name: str
    spec: ModelSpec
    network: Network
    header: dict[str, Any]

    @property
    def recipe(self) -> dict[str, Any]:
        """How it was trained; empty where it was not."""
        return self.header.get("recipe") or {}

    @property
    def metrics(self) -> dict[str, float]:
        """Its validation metrics; empty where there are none."""
        return self.header.get("metrics") or {}


def save_model(
    path: str | Path,
    network: Network,
    spec: ModelSpec,
    *,
    recipe: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    half: bool = False,
) -> None:
    """Write a model file; the auxiliary heads, which only training needs, stay out.

    Args:
        path: ends in `.safetensors`; replaced as a whole.
        network: built from `spec`.
        spec: goes into the header.
        recipe: how it was trained, as plain values; None for a model that was not.
        metrics: name -> value on the validation set.
        half: store floating-point weights as fp16, but for those beyond its range; `load_model` makes float32 of them.

    Raises:
        FastnasError: the file cannot be written.
    """
    header = {
        "format": FORMAT,
        "version": __version__,
        "model": replace(spec, aux="none").to_dict(),
        "normalisation": {"mean": list(network.encoder.mean), "std": list(network.encoder.std)},
        "recipe": dict(recipe) if recipe is not None else None,
        "metrics": dict(metrics) if metrics is not None else None,
    }
    weights = {key: value.detach() for key, value in network.state_dict().items() if not key.startswith(_AUXILIARY)}
    if half:
        weights = {key: _as_half(value) for key, value in weights.items()}
    write_tensors(path, weights, {"fastnas": json.dumps(header)})


def load_model(path: str | Path) -> Model:
    """Read a model file and build its network.

    Raises:
        FastnasError: as `read_header`; or a weight is missing, left over, or of another shape than the header says.
    """
    path = Path(path)
    header, weights = read_model(path)
    try:
        spec = ModelSpec.from_dict(header["model"])
        network = build(spec).eval()
    except FastnasError as error:
        raise FastnasError(f"{path}: {error}") from error
    own = network.state_dict()
    for key, value in own.items():
        if key not in weights:
            raise FastnasError(f"{path} lacks the weight {key} of the network that its header describes")
        if weights[key].shape != value.shape:
            raise FastnasError(
                f"{path}: weight {key} is {list(weights[key].shape)}, "
                f"but the network of its header needs {list(value.shape)}"
            )
    if extra := sorted(set(weights) - set(own)):
        raise FastnasError(f"{path} holds the weight {extra[0]}, which the network of its header does not have")
    network.load_state_dict(weights)
    return Model(model_name(path), spec, network, header)


def open_model(
    text: str, task: Task, encoder: str, channels: int, sep_repeats: int, encoder_weights: str | Path | None = "none"
) -> Model:
    """The network that an argument of a command names: a model file, an architecture's name, or a genotype.

    A model file (`*.safetensors`) describes itself; the arguments below are for the others.

    Args:
        text: the argument.
        task, encoder, channels, sep_repeats: see `ModelSpec`.
        encoder_weights: see `build`; None builds a network without weights, see `build_on_meta`.

    Raises:
        FastnasError: as `load_model` and `build`.
    """
    if text.endswith(".safetensors"):
        return load_model(text)
    spec = ModelSpec(text, task, encoder, channels, sep_repeats)
    network = build_on_meta(spec) if encoder_weights is None else build(spec, encoder_weights)
    return Model(spec.name, spec, network.eval(), {})


def _as_half(value: Tensor) -> Tensor:
    """A floating-point weight as fp16 unless that is infinite; any other as it is."""
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if half.isfinite().all() else value


def model_name(path: Path) -> str:
    """The name of a model file: its own, or its run folder's, since every training calls its file `FILE_NAME`."""
    path = path.absolute()
    return (path.parent.name if path.name == FILE_NAME else "") or path.stem
