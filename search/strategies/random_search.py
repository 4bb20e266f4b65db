"""Random search: the baseline of all others."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fastnas.search.rng import generator
from fastnas.search.strategies.base import Decisions, Draw, Strategy


class RandomSearch(Strategy):
    """Samples every decision uniformly; learns nothing."""

    def draws(self, number: int) -> Iterator[Draw]:
        """See `Strategy.draws`."""
        rng = generator(self.seed, "decisions", number)
        log_prob = -math.fsum(map(math.log, self.choices))
        while True:
            noise = rng.random(len(self.choices))
            yield Draw(tuple(int(u * count) for u, count in zip(noise, self.choices, strict=True)), log_prob)

    def _learn(self, decisions: Decisions, log_prob: float, reward: float) -> None:
        pass
