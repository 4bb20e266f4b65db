"""Strategies that propose architectures and learn from their rewards: PPO, REINFORCE and random search, one face.

    policy = make_policy(settings, seed)
    for proposal in policy.propose(8):          # decisions, and their log-probability when drawn
        policy.observe([Result(proposal, reward)])

Results may come in any order and late: PPO's ratio is against the probability at the time of drawing. Candidate number
i draws from its own stream of chance, so an interrupted search, once its unfinished candidates are proposed again,
continues as if nothing had happened.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastnas.errors import FastnasError
from fastnas.models.genotype import decision_choices
from fastnas.search.controller import Controller
from fastnas.search.rng import generator
from fastnas.search.settings import PolicySettings


@dataclass(frozen=True)
class Proposal:
    """A candidate to evaluate.

    Attributes:
        number: counts the candidates of the search from 0.
        decisions: one choice per decision.
        log_prob: log-probability of the decisions under the policy that drew them.
        version: how often that policy had been updated; now minus then is the result's staleness.
    """

    number: int
    decisions: tuple[int, ...]
    log_prob: float
    version: int


@dataclass(frozen=True)
class Result:
    """The outcome of a proposal; `reward` is None when its evaluation failed, and nothing is learned from it."""

    proposal: Proposal
    reward: float | None


class Policy(ABC):
    """What all strategies share: numbering the candidates, and knowing which of them are still out."""

    def __init__(self, choices: Sequence[int], seed: int) -> None:
        self.choices = tuple(choices)
        self.seed = seed
        self.version = 0
        self._drawn = 0
        self._open: set[int] = set()
        self._again: list[int] = []

    def propose(self, count: int) -> list[Proposal]:
        """Draw `count` candidates, first those that an interruption left unfinished."""
        numbers = self._again[:count]
        del self._again[:count]
        fresh = count - len(numbers)
        numbers += range(self._drawn, self._drawn + fresh)
        self._drawn += fresh
        self._open.update(numbers)
        noise = [generator(self.seed, "decisions", number).random(len(self.choices)) for number in numbers]
        if not noise:
            return []
        decisions, log_probs = self._draw(torch.from_numpy(np.stack(noise)))
        return [
            Proposal(number, tuple(row), log_prob, self.version)
            for number, row, log_prob in zip(numbers, decisions.tolist(), log_probs.tolist(), strict=True)
        ]

    def observe(self, results: Iterable[Result]) -> None:
        """Take in results, one after the other; the policy updates itself whenever it has a batch of them.

        Raises:
            FastnasError: a reward is not finite, or a candidate was observed before.
        """
        for result in results:
            number, reward = result.proposal.number, result.reward
            if self.observed(number):
                raise FastnasError(f"policy: candidate {number} was observed before")
            if reward is not None and not math.isfinite(reward):
                raise FastnasError(f"policy: the reward of candidate {number} is {reward}; report it as failed instead")
            # A history may hold candidates drawn after this policy's state was saved.
            skipped = range(self._drawn, number)
            self._open.update(skipped)
            self._again.extend(skipped)
            self._drawn = max(self._drawn, number + 1)
            self._open.discard(number)
            if number in self._again:
                self._again.remove(number)
            if reward is not None:
                self._learn(result.proposal, reward)

    def observed(self, number: int) -> bool:
        """Whether the result of a candidate was taken in; on resuming, a history's other results are to be observed."""
        return number < self._drawn and number not in self._open

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly: tensors and plain values, fit for `torch.load(weights_only=True)`."""
        return {
            "strategy": type(self).__name__,
            "choices": list(self.choices),
            "seed": self.seed,
            "version": self.version,
            "drawn": self._drawn,
            "open": sorted(self._open),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; candidates that were out then will be proposed again, under their numbers.

        Raises:
            FastnasError: the state belongs to another strategy or other decisions.
        """
        for name, own in (("strategy", type(self).__name__), ("choices", list(self.choices)), ("seed", self.seed)):
            if state.get(name) != own:
                raise FastnasError(f"saved policy has {name} {state.get(name)!r}, this search has {own!r}")
        self.version, self._drawn = state["version"], state["drawn"]
        self._open = set(state["open"])
        self._again = sorted(self._open)

    @abstractmethod
    def _draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Decisions int64 [N, S] and log-probabilities [N] from noise [N, S] in [0, 1)."""

    @abstractmethod
    def _learn(self, proposal: Proposal, reward: float) -> None:
        """Take in one reward."""


class RandomSearch(Policy):
    """Every decision uniform; learns nothing."""

    def _draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        decisions = (noise * torch.tensor(self.choices)).long()
        return decisions, torch.full((len(noise),), -sum(math.log(count) for count in self.choices))

    def _learn(self, proposal: Proposal, reward: float) -> None:
        pass


class PolicyGradient(Policy):
    """A controller that climbs the gradient of its expected reward, against a running mean as the baseline.

    Adam; a genotype is one action, whose log-probability is the sum of its decisions'. What each estimator adds is
    its loss, and the passes it makes over a batch.
    """

    def __init__(self, settings: PolicySettings, seed: int, choices: Sequence[int], units: int = 100) -> None:
        super().__init__(choices, seed)
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.controller = Controller(choices, units)
        self.optimizer = torch.optim.Adam(self.controller.parameters(), lr=settings.learning_rate)
        self.baseline: float | None = None
        self._batch: list[tuple[Proposal, float]] = []

    @property
    def epochs(self) -> int:
        """Passes over each batch of results."""
        return 1

    @abstractmethod
    def loss(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        """The loss to minimise, a scalar; all arguments are [N], `old_log_probs` from when the actions were drawn."""

    def score(self, decisions: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities [N] that the controller gives to N stored decisions, in one forward pass."""
        with torch.no_grad():
            return self.controller(torch.tensor(decisions)).log_probs.sum(dim=1)

    def state_dict(self) -> dict[str, Any]:
        """See `Policy.state_dict`; adds controller, optimiser, baseline and the results waiting for their batch."""
        return super().state_dict() | {
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline,
            "batch": [asdict(proposal) | {"advantage": advantage} for proposal, advantage in self._batch],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Policy.load_state_dict`."""
        super().load_state_dict(state)
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.baseline = state["baseline"]
        self._batch = [
            (Proposal(**{name: value for name, value in entry.items() if name != "advantage"}), entry["advantage"])
            for entry in state["batch"]
        ]

    def _draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            decided = self.controller(noise=noise)
        return decided.actions, decided.log_probs.sum(dim=1)

    def _learn(self, proposal: Proposal, reward: float) -> None:
        if self.baseline is None:
            self.baseline = reward
        self._batch.append((proposal, reward - self.baseline))
        decay = self.settings.baseline_decay
        self.baseline = decay * self.baseline + (1 - decay) * reward
        if len(self._batch) == self.settings.batch:
            self._update()

    def _update(self) -> None:
        proposals = [proposal for proposal, _ in self._batch]
        actions = torch.tensor([proposal.decisions for proposal in proposals])
        old_log_probs = torch.tensor([proposal.log_prob for proposal in proposals])
        advantages = torch.tensor([advantage for _, advantage in self._batch])
        for _ in range(self.epochs):
            decided = self.controller(actions)
            loss = self.loss(decided.log_probs.sum(dim=1), old_log_probs, advantages)
            loss = loss - self.settings.entropy_bonus * decided.entropies.sum(dim=1).mean()
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
    """The score-function estimator (Williams 1992): one pass; takes stale results as if they were fresh."""

    def loss(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        """See `PolicyGradient.loss`."""
        return -(log_probs * advantages).mean()


def make_policy(settings: PolicySettings, seed: int, choices: Sequence[int] | None = None) -> Policy:
    """The strategy that the settings name, by default for genotypes."""
    choices = choices or decision_choices()
    if settings.strategy == "random":
        return RandomSearch(choices, seed)
    return (PPO if settings.strategy == "ppo" else Reinforce)(settings, seed, choices)
