"""The stop rule: whether a candidate goes on, given its reward and those seen before.

A rule is immutable: a worker decides with the copy it was sent, the driver replaces its own as rewards arrive, and
applying `observe` to the rewards of a history gives the rule of that moment. Random numbers are a pure function of seed
and candidate.

Rungs are the epochs of stage 1 after which a candidate is evaluated. The rules of the paper and of its public code have
one, the end of stage 1. Successive halving (Jamieson and Talwalkar 2016; Hyperband, Li et al. 2018) has further ones
before it, each at a third of the epochs of the next, and lets the best third of those seen at a rung go on. It decides
when a candidate is there, without waiting for others, as asynchronous halving does (ASHA, Li et al. 2020).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastnas.errors import FastnasError
from fastnas.search.rng import generator
from fastnas.search.settings import StopSettings

PUBLIC_STEPS = ((100, 0.9), (200, 0.8), (300, 0.7), (400, 0.6))
"""Public rule: after so many rewards, delta is multiplied by so much."""
PUBLIC_DECAY = 0.99
"""Public rule: decay of its mean reward."""


def rungs(settings: StopSettings, epochs: int) -> tuple[int, ...]:
    """The rungs of stage 1, which has so many epochs; its end is the last one."""
    found = [epochs]
    while settings.rule == "halving" and found[0] >= settings.reduction:
        found.insert(0, found[0] // settings.reduction)
    return tuple(found)


@dataclass(frozen=True)
class StopRule:
    """A stop rule and its statistics of the rewards so far.

    Attributes:
        settings: which rule, and its tolerance at the start.
        seed: the search's seed.
        epochs: of stage 1.
        mean: mean of the stage-1 rewards so far (paper: of all of them; public: decaying).
        count: how many there were.
        seen: halving: the rewards so far at each rung.
    """

    settings: StopSettings
    seed: int
    epochs: int
    mean: float = 0.0
    count: int = 0
    seen: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs of stage 1 after which the rule decides, the last one at its end."""
        return rungs(self.settings, self.epochs)

    def continues(self, reward: float, number: int, progress: float, epoch: int | None = None) -> bool:
        """Whether a candidate goes on. The first one always does.

        Args:
            reward: its reward at a rung.
            number: which candidate of the search it is.
            progress: share of the search's budget used, in [0, 1].
            epoch: the rung; by default the end of stage 1.
        """
        if self.settings.rule == "halving":
            seen = self.seen.get(epoch or self.epochs, ())
            return sum(other >= reward for other in seen) * self.settings.reduction <= len(seen)
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

    def observe(self, rewards: Mapping[int, float]) -> StopRule:
        """The rule after one more candidate, given its rewards by rung."""
        if not all(map(math.isfinite, rewards.values())):
            raise FastnasError(f"stop rule: rewards must be finite numbers, not {list(rewards.values())}")
        if self.settings.rule == "halving":
            seen = {epoch: (*self.seen.get(epoch, ()), reward) for epoch, reward in rewards.items()}
            return dataclasses.replace(self, seen={**self.seen, **seen})
        if self.epochs not in rewards:
            return self
        weight = 1 - PUBLIC_DECAY if self.settings.rule == "public" and self.count else 1 / (self.count + 1)
        mean = self.mean + weight * (rewards[self.epochs] - self.mean)
        return dataclasses.replace(self, mean=mean, count=self.count + 1)
