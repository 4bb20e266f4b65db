"""Trained models beside a search: whether the reward predicts the score after full training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scipy import stats

from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype
from fastnas.models.header import read_header
from fastnas.models.spec import ModelSpec
from fastnas.search.history import Record
from fastnas.tasks.registry import head_for


@dataclass(frozen=True)
class Finals:
    """Trained models.

    Attributes:
        score: name of the metric that ranks them.
        models: genotype and value of that metric, by the model's name.
    """

    score: str
    models: dict[str, tuple[Genotype, float]]


@dataclass(frozen=True)
class FinalScore:
    """A network that was also trained fully: its name, its reward in the search, and its final score."""

    name: str
    reward: float
    score: float


def model_files(paths: Iterable[Path]) -> list[Path]:
    """Model files, those of a folder in the order of their paths."""
    return [found for path in paths for found in (sorted(path.rglob("*.safetensors")) if path.is_dir() else [path])]


def read_finals(paths: Iterable[Path]) -> Finals | None:
    """The final scores of model files, or of all of them below a folder; None without any.

    Raises:
        FastnasError: a file is no model of the search space, has no score, or has another one than the rest.
    """
    models: dict[str, tuple[Genotype, float]] = {}
    scores = set()
    for path in model_files(paths):
        header = read_header(path)
        spec = ModelSpec.from_dict(header["model"])
        if spec.genotype is None:
            raise FastnasError(f"{path} is a {spec.architecture}, which no search can find; leave it out")
        if not header.get("metrics"):
            raise FastnasError(f"{path} has no score: it was not evaluated; train it with fastnas train")
        score = head_for(spec.task).score(header["metrics"])
        scores.add(score.name)
        name = path.parent.name if path.stem == "model" else path.stem
        models[name if name not in models else str(path)] = spec.genotype, score.value
    if len(scores) > 1:
        raise FastnasError(
            f"the trained models have different scores ({', '.join(sorted(scores))}): compare models of one task"
        )
    return Finals(scores.pop(), models) if models else None


def final_scores(records: Iterable[Record], models: Mapping[str, tuple[Genotype, float]]) -> list[FinalScore]:
    """Pair trained models with the rewards of a search; networks that were not evaluated in it are left out.

    A network that was trained several times, with other seeds or auxiliary heads, is one point under its first name:
    the mean of its scores.

    Args:
        records: evaluated candidates, each network once.
        models: genotype and final score of each model, by name.
    """
    rewards = {record.candidate.canonical: record.reward for record in records}
    scores: dict[Genotype, list[float]] = {}
    names: dict[Genotype, str] = {}
    for name, (genotype, score) in models.items():
        scores.setdefault(genotype.canonical(), []).append(score)
        names.setdefault(genotype.canonical(), name)
    known = ((names[network], rewards.get(network), fmean(found)) for network, found in scores.items())
    return [FinalScore(name, reward, score) for name, reward, score in known if reward is not None]


def spearman(first: Sequence[float], second: Sequence[float]) -> tuple[float, float] | None:
    """Spearman's rho of two values of the same things, and its p-value.

    None for fewer than three things, or where all of the first or all of the second values are equal.
    """
    if len(first) < 3 or min(len(set(first)), len(set(second))) < 2:
        return None
    result = stats.spearmanr(first, second)
    return float(result.statistic), float(result.pvalue)
