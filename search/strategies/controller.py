"""The controller: a recurrent network that writes a genotype one decision at a time.

Two LSTM layers of 100 units, every weight uniform in +-0.1 (paper Sect. 4). It is autoregressive: the embedding of each
decision is the input of the next step, so that later choices depend on earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastnas.errors import FastnasError
from fastnas.models.genotype import decision_choices


class Decisions(NamedTuple):
    """Sampled or scored sequences of decisions (N sequences, S decisions each).

    Attributes:
        actions: int64 [N, S], the choice made at each step.
        log_probs: [N, S], the log-probability of each choice given those before it; their sum is the sequence's.
        entropies: [N, S], the entropy in nats of the distribution of each choice.
    """

    actions: Tensor
    log_probs: Tensor
    entropies: Tensor


class Controller(nn.Module):
    """A distribution over sequences of decisions, step s having `choices[s]` of them.

    Each step has its own output layer and embeddings, of exactly its number of choices: a choice that the branch does
    not allow has no logit, so nothing has to be masked.

    Args:
        choices: number of choices of each step; by default those of a genotype.
        units: width of the embeddings and of both LSTM layers.
        bound: weights start uniform in [-bound, bound].
    """

    def __init__(self, choices: Sequence[int] | None = None, units: int = 100, bound: float = 0.1) -> None:
        super().__init__()
        self.choices = tuple(choices or decision_choices())
        self.start = nn.Parameter(torch.empty(units))
        self.lstm = nn.LSTM(units, units, num_layers=2, batch_first=True)
        self.heads = nn.ModuleList(nn.Linear(units, count) for count in self.choices)
        # The last decision feeds no step.
        self.embeddings = nn.ModuleList(nn.Embedding(count, units) for count in self.choices[:-1])
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, actions: Tensor | None = None, *, noise: Tensor | None = None, temperature: float = 1.0
    ) -> Decisions:
        """Score `actions`, or sample them from `noise`; one pass over the whole batch either way.

        Args:
            actions: int64 [N, S], the decisions to score.
            noise: float [N, S] in [0, 1), uniform random numbers, from which each decision is sampled by inverse
                transform, so that a sample is a pure function of weights and noise. Exactly one of the two is given.
            temperature: logits are divided by it for sampling; what is returned is at temperature 1.

        Raises:
            FastnasError: an action is not one of its step's choices, or the shape is wrong.
        """
        given = noise if actions is None else actions
        if given is None or (actions is not None and noise is not None):
            raise ValueError("give either actions or noise")
        if given.ndim != 2 or given.shape[1] != len(self.choices):
            raise FastnasError(f"controller: expected [N, {len(self.choices)}] decisions, not {list(given.shape)}")
        if actions is not None and not ((actions >= 0) & (actions < torch.tensor(self.choices))).all():
            raise FastnasError(f"controller: a decision is outside its choices {self.choices}")

        inputs = self.start.expand(len(given), -1)
        if actions is not None:
            embedded = [embed(actions[:, step]) for step, embed in enumerate(self.embeddings)]
            outputs, _ = self.lstm(torch.stack([inputs, *embedded], 1))
            return _decisions(actions, [head(outputs[:, step]).log_softmax(1) for step, head in enumerate(self.heads)])
        # Step by step, a layer's cell is far faster than a sequence of length one.
        zeros = torch.zeros_like(inputs)
        states = [(zeros, zeros) for _ in self.lstm.all_weights]
        chosen, logs = [], []
        for step, head in enumerate(self.heads):
            for layer, weights in enumerate(self.lstm.all_weights):
                states[layer] = torch.lstm_cell(inputs, states[layer], *weights)
                inputs = states[layer][0]
            logs.append(head(inputs).log_softmax(dim=1))
            chosen.append(_sample((logs[-1].detach() / temperature).softmax(dim=1), given[:, step]))
            if step < len(self.embeddings):
                inputs = self.embeddings[step](chosen[-1])
        return _decisions(torch.stack(chosen, 1), logs)


def _decisions(actions: Tensor, logs: Sequence[Tensor]) -> Decisions:
    """Actions [N, S] with their log-probabilities and entropies, given the distributions of the steps, [N, K] each."""
    log_probs = [each.gather(1, actions[:, step, None])[:, 0] for step, each in enumerate(logs)]
    entropies = [-(each.exp() * each).sum(dim=1) for each in logs]
    return Decisions(actions, torch.stack(log_probs, 1), torch.stack(entropies, 1))


def _sample(probs: Tensor, noise: Tensor) -> Tensor:
    """Choices int64 [N] by inverting the cumulative distribution of probs [N, K] at noise [N]."""
    cumulative = probs.double().cumsum(dim=1)
    # Rounding leaves the total a little off 1: scaled by it, noise never reaches beyond the last choice.
    target = noise.double() * cumulative[:, -1]
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0].clamp_(max=probs.shape[1] - 1)
