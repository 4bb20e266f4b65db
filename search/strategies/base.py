"""The interface of all strategies, which propose architectures and learn from their rewards.

    strategy = make_strategy(settings, seed)
    decisions, log_prob = next(strategy.draws(number=0))
    strategy.observe(decisions, log_prob, reward)

Rewards may arrive in any order and late. Candidate number i is drawn with a random generator of its own, so that an
interrupted search draws it again, given the same rewards, exactly as before.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fastnas.errors import FastnasError

Decisions = tuple[int, ...]


class Draw(NamedTuple):
    """A proposal: its decisions, and their log-probability; 0 where a strategy has no distribution."""

    decisions: Decisions
    log_prob: float


class Strategy(ABC):
    """The interface of all strategies.

    Attributes:
        choices: number of choices of each decision.
        version: number of updates so far.
        observed: number of candidates observed so far, failed ones included.
    """

    def __init__(self, choices: Sequence[int], seed: int) -> None:
        self.choices = tuple(choices)
        self.seed = seed
        self.version = 0
        self.observed = 0

    @abstractmethod
    def draws(self, number: int) -> Iterator[Draw]:
        """Proposals for candidate `number`, without end: who asks takes the first that is new to the search."""

    def observe(self, decisions: Sequence[int], log_prob: float, reward: float | None) -> None:
        """Learn from one candidate.

        Args:
            decisions: as drawn.
            log_prob: their log-probability when they were drawn.
            reward: None for a candidate without one, from which nothing is learned.

        Raises:
            FastnasError: the reward is NaN or infinite.
        """
        if reward is not None and not math.isfinite(reward):
            raise FastnasError(f"strategy: a reward must be a finite number, not {reward}")
        self.observed += 1
        if reward is not None:
            self._learn(tuple(decisions), log_prob, reward)

    def observe_refused(self, decisions: Sequence[int], log_prob: float, shortfall: float) -> None:
        """Learn from a candidate that is over a limit.

        Args:
            decisions: as drawn.
            log_prob: their log-probability when they were drawn.
            shortfall: from -1 to 0, the lower the further it is over the limit.
        """
        self.observed += 1
        self._learn_refused(tuple(decisions), log_prob, shortfall)

    def state_dict(self) -> dict[str, Any]:
        """What continues exactly, given the history too: tensors and plain values, fit for `weights_only` loading."""
        return {"strategy": type(self).__name__, "choices": list(self.choices), "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; the candidates from number `observed` of the history on are to be observed.

        Raises:
            FastnasError: the state is of an earlier version of fastnas, another strategy or other decisions.
        """
        for name, own in Strategy.state_dict(self).items():
            if state.get(name) != own:
                raise FastnasError(f"the saved strategy has {name} {state.get(name)!r}, this search has {own!r}")
        if state.keys() != self.state_dict().keys():
            raise FastnasError(
                "controller.pt is of an earlier version of fastnas: remove it; --resume then learns from history.jsonl"
            )

    @abstractmethod
    def _learn(self, decisions: Decisions, log_prob: float, reward: float) -> None:
        """Learn from one reward."""

    def _learn_refused(self, decisions: Decisions, log_prob: float, shortfall: float) -> None:
        """Learn from one refused candidate: by default as from a reward, which is below every reward of a task."""
        self._learn(decisions, log_prob, shortfall)
