"""Strategies that propose architectures and learn from their rewards: PPO, REINFORCE and random search.

    policy = make_policy(settings, seed)
    decisions, log_prob = policy.sample(number=0)
    policy.observe(decisions, log_prob, reward)

Rewards may arrive in any order and late: PPO's ratio is against the probability at the time of sampling. Candidate
number i is sampled with a random generator of its own, so that an interrupted search samples it again, given the same
weights, exactly as before.

Shapes: N candidates, S decisions each.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastnas.errors import FastnasError
from fastnas.models.genotype import decision_choices
from fastnas.search.controller import Controller
from fastnas.search.rng import generator
from fastnas.search.settings import PolicySettings


class Policy(ABC):
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

    def sample(self, number: int) -> tuple[tuple[int, ...], float]:
        """The decisions of candidate `number`, and their log-probability."""
        noise = generator(self.seed, "decisions", number).random(len(self.choices))
        decisions, log_prob = self._sample(torch.from_numpy(noise))
        return tuple(decisions.tolist()), float(log_prob)

    def observe(self, decisions: Sequence[int], log_prob: float, reward: float | None) -> None:
        """Learn from one candidate; the policy is updated whenever a batch of rewards is complete.

        Args:
            decisions: as sampled.
            log_prob: their log-probability at the time of sampling.
            reward: None for a candidate without one, from which nothing is learned.

        Raises:
            FastnasError: the reward is NaN or infinite.
        """
        if reward is not None and not math.isfinite(reward):
            raise FastnasError(f"policy: a reward must be a finite number, not {reward}")
        self.observed += 1
        if reward is not None:
            self._learn(tuple(decisions), log_prob, reward)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly: tensors and plain values, fit for `torch.load(weights_only=True)`."""
        return {
            "strategy": type(self).__name__,
            "choices": list(self.choices),
            "seed": self.seed,
            "version": self.version,
            "observed": self.observed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            FastnasError: the state is of an earlier version of fastnas, another strategy or other decisions.
        """
        if "observed" not in state:
            raise FastnasError(
                "controller.pt is of an earlier version of fastnas: remove it; --resume then learns from history.jsonl"
            )
        for name, own in (("strategy", type(self).__name__), ("choices", list(self.choices)), ("seed", self.seed)):
            if state.get(name) != own:
                raise FastnasError(f"the saved policy has {name} {state.get(name)!r}, this search has {own!r}")
        self.version, self.observed = state["version"], state["observed"]

    @abstractmethod
    def _sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Decisions int64 [S] and their log-probability, a scalar, from noise [S] in [0, 1)."""

    @abstractmethod
    def _learn(self, decisions: tuple[int, ...], log_prob: float, reward: float) -> None:
        """Learn from one reward."""


class RandomSearch(Policy):
    """Samples every decision uniformly; learns nothing."""

    def _sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        choices = torch.tensor(self.choices)
        return (noise * choices).long(), -choices.double().log().sum()

    def _learn(self, decisions: tuple[int, ...], log_prob: float, reward: float) -> None:
        pass


class PolicyGradient(Policy):
    """A controller trained by policy gradient with Adam, against a running mean of the rewards as the baseline.

    A whole genotype is one action, whose log-probability is the sum of those of its decisions. Subclasses define the
    loss, and the passes over each batch.
    """

    def __init__(self, settings: PolicySettings, seed: int, choices: Sequence[int], units: int = 100) -> None:
        super().__init__(choices, seed)
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.controller = Controller(choices, units)
        self.optimizer = torch.optim.Adam(self.controller.parameters(), lr=settings.learning_rate)
        self.baseline: float | None = None
        self._batch: list[tuple[tuple[int, ...], float, float]] = []
        """Decisions, log-probability when sampled, and advantage of the rewards since the last update."""

    @property
    def epochs(self) -> int:
        """Passes over each batch of rewards."""
        return 1

    @abstractmethod
    def loss(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        """The loss to minimise, a scalar; all arguments are [N], `old_log_probs` from when the actions were sampled."""

    def state_dict(self) -> dict[str, Any]:
        """See `Policy.state_dict`; adds controller, optimiser, baseline and the incomplete batch."""
        return super().state_dict() | {
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline,
            "batch": self._batch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Policy.load_state_dict`."""
        super().load_state_dict(state)
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.baseline, self._batch = state["baseline"], list(state["batch"])

    def _sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            sampled = self.controller(noise=noise[None])
        return sampled.actions[0], sampled.log_probs[0].sum()

    def _learn(self, decisions: tuple[int, ...], log_prob: float, reward: float) -> None:
        if self.baseline is None:
            self.baseline = reward
        self._batch.append((decisions, log_prob, reward - self.baseline))
        decay = self.settings.baseline_decay
        self.baseline = decay * self.baseline + (1 - decay) * reward
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


def make_policy(settings: PolicySettings, seed: int, choices: Sequence[int] | None = None) -> Policy:
    """The strategy that the settings name; `choices` are by default those of a genotype."""
    choices = choices or decision_choices()
    if settings.strategy == "random":
        return RandomSearch(choices, seed)
    return (PPO if settings.strategy == "ppo" else Reinforce)(settings, seed, choices)
