"""A predictor of rewards chooses from a large pool (BANANAS, White et al. 2021; BRP-NAS, Dudziak et al. 2020).

The predictor is a random forest on the history. Its trees disagree where it has seen little; by independent Thompson
sampling the candidate with the highest sample of its predictive distribution comes first, so that uncertain ones have
their turn (BANANAS, Sect. 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnas.errors import import_extra
from fastnas.models.genotype import ENCODER_OUTPUTS, Genotype, decision_choices
from fastnas.models.operations import OPERATIONS
from fastnas.search.rng import generator
from fastnas.search.settings import PolicySettings
from fastnas.search.strategies.base import Decisions, Draw, Strategy
from fastnas.search.strategies.evolution import mutated
from fastnas.search.strategies.random_search import RandomSearch

TREES = 50
SHARE = 1 / 3
"""Share of the features that a split chooses from, usual for regression."""
PARENTS = 10
"""Half of the pool are mutations of so many of the best candidates, the other half is random."""


class Predictor(Strategy):
    """Ranks a pool of random architectures and of mutations of the best ones by predicted reward.

    The forest is trained on all rewards, of refused candidates too, whenever a batch of them is complete.

    Raises:
        MissingPackage: scikit-learn is not installed.
    """

    def __init__(self, settings: PolicySettings, seed: int) -> None:
        super().__init__(decision_choices(), seed)
        self.settings = settings
        self._forest_class = import_extra("sklearn.ensemble", "predictor").RandomForestRegressor
        self._seen: list[tuple[Decisions, float]] = []
        self._features: list[npt.NDArray[np.float32]] = []
        self._forest: Any = None
        self._trained = 0
        self._random = RandomSearch(self.choices, seed)

    def draws(self, number: int) -> Iterator[Draw]:
        """See `Strategy.draws`; the pool by falling sample of its reward, then another pool."""
        if len(self._seen) < self.settings.random_start:
            yield from self._random.draws(number)
        self._train()
        rng = generator(self.seed, "pool", number)
        while True:
            pool = self._pool(rng)
            features = np.stack([encode(decisions) for decisions in pool])
            predicted = np.stack([tree.predict(features, check_input=False) for tree in self._forest.estimators_])
            samples = rng.normal(predicted.mean(axis=0), predicted.std(axis=0))
            for i in np.argsort(-samples, kind="stable"):
                yield Draw(pool[int(i)], 0.0)

    def _learn(self, decisions: Decisions, log_prob: float, reward: float) -> None:
        self._seen.append((decisions, reward))
        self._features.append(encode(decisions))
        self.version = len(self._seen) // self.settings.batch

    def _train(self) -> None:
        """Train on all complete batches: on a resumed search as on an undisturbed one."""
        count = max(self.version * self.settings.batch, min(len(self._seen), self.settings.random_start))
        if count == self._trained:
            return
        self._trained = count
        self._forest = self._forest_class(TREES, max_features=SHARE, random_state=count, n_jobs=1)
        self._forest.fit(np.stack(self._features[:count]), [reward for _, reward in self._seen[:count]])

    def _pool(self, rng: np.random.Generator) -> list[Decisions]:
        best = sorted(self._seen, key=lambda seen: -seen[1])[:PARENTS]
        half = self.settings.pool // 2
        mutations = [mutated(best[i % len(best)][0], self.choices, rng) for i in range(half)]
        uniform = (rng.random((self.settings.pool - half, len(self.choices))) * self.choices).astype(int)
        return [*mutations, *map(tuple, uniform.tolist())]


def encode(decisions: Sequence[int]) -> npt.NDArray[np.float32]:
    """The features of a genotype: its canonical decisions one-hot, and how often each input and operation occurs."""
    genotype = Genotype.from_decisions(decisions).canonical()
    one_hot = [
        decision == choice
        for decision, count in zip(genotype.decisions(), decision_choices(), strict=True)
        for choice in range(count)
    ]
    inputs = [index for pair in genotype.connections for index in pair]
    operations = [genotype.cell[0], *(operation for branch in genotype.branches for operation in branch[2:])]
    counts = np.bincount(inputs, minlength=ENCODER_OUTPUTS + 2), np.bincount(operations, minlength=len(OPERATIONS))
    return np.concatenate([np.array(one_hot), *counts]).astype(np.float32)
