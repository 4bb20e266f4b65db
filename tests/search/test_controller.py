"""The controller is a proper distribution over sequences of decisions, and sampling follows it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from fastnas.errors import FastnasError
from fastnas.models.genotype import Genotype, decision_choices
from fastnas.search.strategies.controller import Controller

TOY = (3, 2, 4, 2)
ALL = torch.tensor(list(itertools.product(*map(range, TOY))))


def controller(choices: tuple[int, ...] = TOY, bound: float = 1.0, units: int = 12) -> Controller:
    """Weights far from the start's, so that the distribution is far from uniform."""
    torch.manual_seed(0)
    return Controller(choices, units=units, bound=bound)


def noise(count: int, choices: tuple[int, ...] = TOY) -> torch.Tensor:
    return torch.rand(count, len(choices), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_it_is_the_papers_network() -> None:
    network = Controller()
    assert network.choices == decision_choices()
    assert (network.lstm.num_layers, network.lstm.hidden_size) == (2, 100)
    weights = torch.cat([parameter.flatten() for parameter in network.parameters()])
    assert weights.abs().max() <= 0.1
    assert stats.kstest(weights.detach().numpy()[::37], stats.uniform(-0.1, 0.2).cdf).pvalue > 0.01


def test_probabilities_of_all_sequences_sum_to_one() -> None:
    probs = controller()(ALL).log_probs.sum(dim=1).exp()
    assert probs.sum().item() == pytest.approx(1, abs=1e-5)
    assert probs.max() > 4 * probs.min(), "the distribution under test is too plain to tell anything"


def test_sampled_frequencies_match_the_probabilities() -> None:
    network, count = controller(), 20000
    sampled = network(noise=noise(count)).actions
    index = np.ravel_multi_index(sampled.T.numpy(), TOY)
    observed = np.bincount(index, minlength=len(ALL))
    expected = network(ALL).log_probs.sum(dim=1).exp().double().detach().numpy()
    assert stats.chisquare(observed, expected / expected.sum() * count).pvalue > 0.01


def test_a_decision_depends_on_the_ones_before_it_and_on_none_after() -> None:
    network = controller()
    log_probs = network(ALL).log_probs
    last = {tuple(row[:3].tolist()): log_probs[i, 3].item() for i, row in enumerate(ALL) if row[3] == 0}
    for step in range(3):
        changed = {tuple((v + (i == step)) % TOY[i] for i, v in enumerate(row)) for row in [(0, 0, 0)]}.pop()
        assert abs(last[changed] - last[0, 0, 0]) > 1e-4
    first = log_probs[ALL[:, 0] == 0, 0]
    assert torch.allclose(first, first[0].expand_as(first))


def test_choices_that_a_branch_does_not_allow_are_never_drawn() -> None:
    sampled = controller(decision_choices())(noise=noise(5000, decision_choices())).actions
    assert sampled.min() == 0
    assert (sampled < torch.tensor(decision_choices())).all()
    for decisions in sampled[:200].tolist():
        Genotype.from_decisions(decisions)


@pytest.mark.parametrize("extreme", [0.0, float(np.nextafter(1, 0))])
def test_the_ends_of_the_noise_are_choices_too(extreme: float) -> None:
    sampled = controller()(noise=torch.full((3, len(TOY)), extreme, dtype=torch.float64)).actions
    assert sampled.tolist() == [[0] * len(TOY) if extreme == 0 else [count - 1 for count in TOY]] * 3


def test_scoring_100_genotypes_is_one_pass_and_equals_what_sampling_recorded() -> None:
    network = controller(decision_choices(), units=100)
    with torch.no_grad():
        sampled = network(noise=noise(100, decision_choices()))
        calls: list[int] = []
        network.lstm.register_forward_hook(lambda _module, inputs, _output: calls.append(len(inputs[0])))
        scored = network(sampled.actions)
    assert calls == [100]
    assert torch.equal(scored.actions, sampled.actions)
    # A sequence and a step have different kernels, which round differently where weights are this large.
    assert torch.allclose(scored.log_probs, sampled.log_probs, atol=1e-3)
    assert torch.allclose(scored.entropies, sampled.entropies, atol=1e-3)


def test_entropies_are_those_of_the_distribution() -> None:
    """By the chain rule, the mean over sequences of the summed entropies is the entropy of the sequence."""
    decided = controller()(ALL)
    log_probs = decided.log_probs.sum(dim=1)
    entropy = -(log_probs.exp() * log_probs).sum().item()
    assert (log_probs.exp() * decided.entropies.sum(dim=1)).sum().item() == pytest.approx(entropy, abs=1e-4)


@pytest.mark.parametrize("actions", [[[0, 0, 0, 2]], [[0, -1, 0, 0]], [[0, 0, 0]], [0, 0, 0, 0]])
def test_decisions_outside_the_space_are_refused(actions: list) -> None:
    with pytest.raises(FastnasError, match="controller"):
        controller()(torch.tensor(actions))
