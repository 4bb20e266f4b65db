"""The stop rule: whether a candidate goes on to stage 2, given its stage-1 reward and those seen before.

A rule is immutable: a worker decides with the copy it was sent, the driver replaces its own as rewards arrive, and
applying `observe` to the rewards of a history gives the rule of that moment. Random numbers are a pure function of seed
and candidate.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from fastnas.errors import FastnasError
from fastnas.search.rng import generator
from fastnas.search.settings import StopSettings

PUBLIC_STEPS = ((100, 0.9), (200, 0.8), (300, 0.7), (400, 0.6))
"""Public rule: after so many rewards, delta is multiplied by so much."""
PUBLIC_DECAY = 0.99
"""Public rule: decay of its mean reward."""


@dataclass(frozen=True)
class StopRule:
    """A stop rule and its statistics of the rewards so far.

    Attributes:
        settings: which rule, and its tolerance at the start.
        seed: the search's seed.
        mean: mean of the stage-1 rewards so far (paper: of all of them; public: decaying).
        count: how many there were.
    """

    settings: StopSettings
    seed: int
    mean: float = 0.0
    count: int = 0

    def continues(self, reward: float, number: int, progress: float) -> bool:
        """Whether a candidate goes on to stage 2. The first one always does.

        Args:
            reward: its stage-1 reward.
            number: which candidate of the search it is.
            progress: share of the search's budget used, in [0, 1].
        """
        if self.settings.rule == "never" or self.count == 0:
            return True
        uniform = float(generator(self.seed, "stop", number).random())
        if self.settings.rule == "paper":
            # Sect. 3.2.1: "with probability 1 - p we terminate", p "annealed throughout our search (starting from
            # 0.9)". The schedule is not given; linear to 0 at the end of the budget is ours.
            return reward > self.mean or uniform < self.settings.start * (1 - min(max(progress, 0.0), 1.0))
        return reward > self.mean - uniform * self.delta * abs(self.mean)

    @property
    def delta(self) -> float:
        """The public rule's tolerance after `count` rewards."""
        delta = self.settings.start
        for step, factor in PUBLIC_STEPS:
            if self.count >= step:
                delta *= factor
        return delta

    def observe(self, reward: float) -> StopRule:
        """The rule after one more stage-1 reward."""
        if not math.isfinite(reward):
            raise FastnasError(f"stop rule: a reward must be a finite number, not {reward}")
        weight = 1 - PUBLIC_DECAY if self.settings.rule == "public" and self.count else 1 / (self.count + 1)
        return dataclasses.replace(self, mean=self.mean + weight * (reward - self.mean), count=self.count + 1)
