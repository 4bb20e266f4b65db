"""What auxiliary heads bring in full training: the final scores by kind of head (the paper's Fig. 4)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from fastnas.config import FILE
from fastnas.models.decoder import Auxiliary
from fastnas.models.genotype import Genotype
from fastnas.models.header import read_header
from fastnas.search.report.finals import model_files
from fastnas.tasks.registry import head_for
from fastnas.train.settings import RunSettings

KINDS: tuple[Auxiliary, ...] = get_args(Auxiliary)

Scores = dict[Genotype, dict[Auxiliary, list[float]]]
"""Network -> kind of heads -> final scores, of one seed each."""


def compare_heads(paths: Iterable[Path]) -> dict[str, Any] | None:
    """The final scores of networks that were trained with several kinds of auxiliary heads.

    The kind stands in the settings of a training run, for a model file has no heads. Runs are compared whose settings
    are equal but for network, heads, seed and folders; of several such sets, the one with most networks counts.

    Args:
        paths: model files in their run folders, or folders of such; others are passed over.

    Returns:
        `score`, the metric's name; `networks`, the highest mean first: `name`, `genotype` and `scores` by kind; and,
        over the networks that have all of the kinds that occur, `compared`, their number, `means` and `best` by kind:
        how many of them score highest with it, ties counted for none. None if no network has several kinds.

    Raises:
        FastnasError: a model or the settings of its run cannot be read.
    """
    experiments: dict[str, Scores] = {}
    names: dict[Genotype, str] = {}
    score_of: dict[str, str] = {}
    for path in model_files(paths):
        if not (path.parent / FILE).is_file():
            continue
        settings, metrics = RunSettings.load(path.parent), read_header(path).get("metrics")
        if settings.model.genotype is None or not metrics:
            continue
        score, genotype = head_for(settings.model.task).score(metrics), settings.model.genotype.canonical()
        kind = experiment(settings)
        score_of[kind] = score.name
        names.setdefault(genotype, settings.model.name)
        experiments.setdefault(kind, {}).setdefault(genotype, {}).setdefault(settings.model.aux, []).append(score.value)
    several = {
        name: {genotype: found for genotype, found in scores.items() if len(found) > 1}
        for name, scores in experiments.items()
    }
    chosen = max(several, key=lambda name: len(several[name]), default=None)
    if chosen is None or not several[chosen]:
        return None
    return {"score": score_of[chosen], **_summary(several[chosen], names)}


def experiment(settings: RunSettings) -> str:
    """The settings that must be equal for the heads alone to differ: all but network, heads, seed and folders."""
    values = dataclasses.replace(settings, seed=0, roots={}).to_dict()
    values["model"] = {name: value for name, value in values["model"].items() if name not in ("architecture", "aux")}
    return json.dumps(values, sort_keys=True)


def _summary(scores: Scores, names: Mapping[Genotype, str]) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if any(kind in found for found in scores.values())]
    means = {g: {kind: float(np.mean(found[kind])) for kind in kinds if kind in found} for g, found in scores.items()}
    whole = [found for found in means.values() if len(found) == len(kinds)]
    ranked = sorted(scores, key=lambda genotype: -max(means[genotype].values()))
    return {
        "networks": [
            {
                "name": names[genotype],
                "genotype": str(genotype),
                "scores": {kind: scores[genotype].get(kind, []) for kind in kinds},
            }
            for genotype in ranked
        ],
        "compared": len(whole),
        "means": {kind: float(np.mean([found[kind] for found in whole])) for kind in kinds} if whole else {},
        "best": {
            kind: sum(all(found[kind] > found[other] for other in kinds if other != kind) for found in whole)
            for kind in kinds
        },
    }
