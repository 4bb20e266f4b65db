"""What a training run was asked to do: written once into its folder, read again by `--resume` and by people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fastnas.data import DenseDataset, open_dataset
from fastnas.data.base import Part
from fastnas.errors import FastnasError
from fastnas.jetson.files import atomic_path
from fastnas.models.spec import ModelSpec
from fastnas.train.recipes import Optimiser, Phase, Recipe

SETTINGS = "settings.json"


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the result of a run, but for rounding.

    Attributes:
        model: what is trained.
        recipe: how.
        roots: dataset name -> folder.
        val: dataset that is evaluated, as `NAME` (its split `val`) or `NAME:SPLIT`.
        encoder_weights: `imagenet`, a file, or `none`.
        teacher: see `fastnas.train.teacher`; empty for none.
        seed: of weights, order and transforms.
        limit, val_limit: use only so many samples of each dataset, evenly spread; 0 for all.
        precision: `fp32`, `bf16` or `fp16`, the last two mixed.
        accumulate: parts that a batch is computed in; batch norm sees each part alone.
        eval_every: epochs between evaluations.
    """

    model: ModelSpec
    recipe: Recipe
    roots: dict[str, str]
    val: str
    encoder_weights: str
    teacher: str = ""
    seed: int = 0
    limit: int = 0
    val_limit: int = 0
    precision: str = "fp32"
    accumulate: int = 1
    eval_every: int = 1

    def open_train(self, name: str) -> DenseDataset:
        """A training dataset by its name in the recipe's phases."""
        return self._open(name, "train", self.limit)

    def open_val(self) -> DenseDataset:
        """The data that is evaluated."""
        return self._open(self.val, "val", self.val_limit)

    def _open(self, name: str, default: str, limit: int) -> DenseDataset:
        name, _, split = name.partition(":")
        dataset = open_dataset(name, self.roots.get(name), split or default, self.model.task.kind)
        return limited(dataset, limit)

    def save(self, folder: Path) -> None:
        """Write `settings.json` into the run's folder."""
        values = {**asdict(self), "model": self.model.to_dict()}
        with atomic_path(folder / SETTINGS) as temporary:
            temporary.write_text(json.dumps(values, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> RunSettings:
        """Read a run's settings.

        Raises:
            FastnasError: the folder is no run, or its settings are of another version.
        """
        path = folder / SETTINGS
        try:
            values: dict[str, Any] = json.loads(path.read_text())
            model, recipe = ModelSpec.from_dict(values.pop("model")), recipe_from_dict(values.pop("recipe"))
            return cls(model, recipe, **values)
        except OSError as error:
            raise FastnasError(f"{folder} is no training run: it has no readable {SETTINGS}") from error
        except (FastnasError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise FastnasError(f"{path} does not hold the settings of a training run: {error}") from error


def limited(dataset: DenseDataset, limit: int) -> DenseDataset:
    """At most `limit` samples, evenly spread; all of them for 0."""
    if not limit or limit >= len(dataset):
        return dataset
    return Part(dataset, [i * len(dataset) // limit for i in range(limit)], dataset.split)


def recipe_from_dict(values: dict[str, Any]) -> Recipe:
    """The inverse of `Recipe.to_dict`, also after a round trip through JSON."""
    tuples = {field.name for field in fields(Recipe) if str(field.type).startswith("tuple")}
    plain: dict[str, Any] = {key: tuple(value) if key in tuples else value for key, value in values.items()}
    for part in ("encoder", "decoder"):
        plain[part] = Optimiser(**{**values[part], "betas": tuple(values[part]["betas"])})
    plain["phases"] = tuple(Phase(**{**phase, "data": tuple(phase["data"])}) for phase in values["phases"])
    return Recipe(**plain)
