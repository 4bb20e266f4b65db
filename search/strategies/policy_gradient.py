"""Strategies that train a controller by policy gradient: PPO and REINFORCE.

Shapes: N candidates, S decisions each.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastnas.search.rng import generator
from fastnas.search.settings import PolicySettings, learning_rate
from fastnas.search.strategies.base import Decisions, Draw, Strategy
from fastnas.search.strategies.controller import Controller

HEAT = 1.1
"""Factor of the temperature from one draw of a candidate to the next: a collapsed controller finds new networks too."""
SMALLEST_DEVIATION = 1e-3
"""Rewards that differ by less are not enlarged further."""


class PolicyGradient(Strategy):
    """A controller trained by policy gradient with Adam.

    The advantage of a reward is its difference to the running mean of the rewards, in running standard deviations: a
    step is as long for a task whose rewards lie close together as for another. A whole genotype is one action, whose
    log-probability is the sum of those of its decisions. Subclasses define the loss, and the passes over each batch.
    """

    def __init__(self, settings: PolicySettings, seed: int, choices: Sequence[int], units: int = 100) -> None:
        super().__init__(choices, seed)
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.controller = Controller(choices, units)
        rate = learning_rate(None) if settings.learning_rate is None else settings.learning_rate
        self.optimizer = torch.optim.Adam(self.controller.parameters(), lr=rate, fused=True)
        self.baseline: float | None = None
        self.variance = 0.0
        """Running mean of the squared differences of rewards to the baseline."""
        self._batch: list[tuple[Decisions, float, float]] = []
        """Decisions, log-probability when drawn, and advantage of the rewards since the last update."""

    @property
    def epochs(self) -> int:
        """Passes over each batch of rewards."""
        return 1

    @abstractmethod
    def loss(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        """The loss to minimise, a scalar; all arguments are [N], `old_log_probs` from when the actions were drawn."""

    def draws(self, number: int) -> Iterator[Draw]:
        """See `Strategy.draws`; the first follows the policy, each later one is drawn at a higher temperature."""
        rng = generator(self.seed, "decisions", number)
        for attempt in itertools.count():
            noise = torch.from_numpy(rng.random(len(self.choices)))
            with torch.no_grad():
                sampled = self.controller(noise=noise[None], temperature=HEAT**attempt)
            yield Draw(tuple(sampled.actions[0].tolist()), float(sampled.log_probs[0].sum()))

    def state_dict(self) -> dict[str, Any]:
        """See `Strategy.state_dict`; adds controller, optimiser, statistics of the rewards, the incomplete batch."""
        return super().state_dict() | {
            "version": self.version,
            "observed": self.observed,
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline,
            "variance": self.variance,
            "batch": self._batch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Strategy.load_state_dict`."""
        super().load_state_dict(state)
        self.version, self.observed = state["version"], state["observed"]
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.baseline, self.variance = state["baseline"], state["variance"]
        self._batch = list(state["batch"])

    def _learn(self, decisions: Decisions, log_prob: float, reward: float) -> None:
        if self.baseline is None:
            self.baseline = reward
        difference, decay = reward - self.baseline, self.settings.baseline_decay
        self.baseline += (1 - decay) * difference
        if difference:
            self.variance += (1 - decay if self.variance else 1.0) * (difference**2 - self.variance)
        self._batch.append((decisions, log_prob, difference / max(math.sqrt(self.variance), SMALLEST_DEVIATION)))
        if len(self._batch) == self.settings.batch:
            self._update()

    def _update(self) -> None:
        actions, old_log_probs, advantages = map(torch.tensor, zip(*self._batch, strict=True))
        for _ in range(self.epochs):
            scored = self.controller(actions)
            loss = self.loss(scored.log_probs.sum(dim=1), old_log_probs, advantages)
            loss = loss - self.settings.entropy_bonus * scored.entropies.sum(dim=1).mean()
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.controller.parameters(), self.settings.gradient_norm)
            self.optimizer.step()
        self._batch = []
        self.version += 1


class PPO(PolicyGradient):
    """Proximal policy optimisation with a clipped ratio (Schulman et al. 2017, arXiv 1707.06347, Eq. 7)."""

    @property
    def epochs(self) -> int:
        """See `PolicyGradient.epochs`."""
        return self.settings.epochs

    def loss(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        """See `PolicyGradient.loss`."""
        ratios = (log_probs - old_log_probs).exp()
        clipped = ratios.clamp(1 - self.settings.clip, 1 + self.settings.clip)
        return -torch.minimum(ratios * advantages, clipped * advantages).mean()


class Reinforce(PolicyGradient):
    """The score-function estimator (Williams 1992): one pass; stale rewards are used as if they were fresh."""

    def loss(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        """See `PolicyGradient.loss`."""
        return -(log_probs * advantages).mean()
