"""Regularised evolution (Real et al. 2019, arXiv 1802.01548): mutation of good candidates, and the oldest die."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from fastnas.search.rng import generator
from fastnas.search.settings import PolicySettings
from fastnas.search.strategies.base import Decisions, Draw, Strategy
from fastnas.search.strategies.random_search import RandomSearch


class Evolution(Strategy):
    """A population of the latest evaluated candidates, whose best are mutated.

    Until the population is full, candidates are random. Then a parent is the best of a random sample, and its child
    differs in one decision. Refused candidates do not join.
    """

    def __init__(self, settings: PolicySettings, seed: int, choices: Sequence[int]) -> None:
        super().__init__(choices, seed)
        self.settings = settings
        self.population: deque[tuple[Decisions, float]] = deque(maxlen=settings.population)
        """Decisions and reward, the oldest first."""
        self._random = RandomSearch(choices, seed)

    def draws(self, number: int) -> Iterator[Draw]:
        """See `Strategy.draws`; each draw holds a tournament of its own."""
        if len(self.population) < self.settings.population:
            yield from self._random.draws(number)
        rng = generator(self.seed, "evolution", number)
        while True:
            sample = min(self.settings.tournament, len(self.population))
            chosen = rng.choice(len(self.population), sample, replace=False)
            parent, _ = max((self.population[int(i)] for i in chosen), key=lambda member: member[1])
            yield Draw(mutated(parent, self.choices, rng), 0.0)

    def _learn(self, decisions: Decisions, log_prob: float, reward: float) -> None:
        self.population.append((decisions, reward))
        self.version += 1

    def _learn_refused(self, decisions: Decisions, log_prob: float, shortfall: float) -> None:
        pass


def mutated(decisions: Decisions, choices: Sequence[int], rng: np.random.Generator) -> Decisions:
    """The decisions with one of them changed to another choice, both uniformly."""
    step = int(rng.integers(len(choices)))
    other = (decisions[step] + int(rng.integers(1, choices[step]))) % choices[step]
    return (*decisions[:step], other, *decisions[step + 1 :])
