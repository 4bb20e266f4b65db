"""Strategies by name."""

from __future__ import annotations

from collections.abc import Sequence

from fastnas.models.genotype import decision_choices
from fastnas.search.settings import PolicySettings
from fastnas.search.strategies.base import Strategy
from fastnas.search.strategies.evolution import Evolution
from fastnas.search.strategies.policy_gradient import PPO, Reinforce
from fastnas.search.strategies.predictor import Predictor
from fastnas.search.strategies.random_search import RandomSearch


def make_strategy(settings: PolicySettings, seed: int, choices: Sequence[int] | None = None) -> Strategy:
    """The strategy that the settings name; `choices` are by default those of a genotype, as `predictor` needs them.

    Raises:
        MissingPackage: `predictor` needs scikit-learn, which is not installed.
    """
    choices = choices or decision_choices()
    if settings.strategy == "random":
        return RandomSearch(choices, seed)
    if settings.strategy == "predictor":
        return Predictor(settings, seed)
    kinds = {"ppo": PPO, "reinforce": Reinforce, "evolution": Evolution}
    return kinds[settings.strategy](settings, seed, choices)
