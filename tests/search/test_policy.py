"""Strategies find the optimum of toy spaces, take late results, and continue from a saved state bit for bit."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize

from fastnas.errors import FastnasError
from fastnas.models.genotype import decision_choices
from fastnas.search.policy import PPO, Policy, PolicyGradient, Proposal, RandomSearch, Reinforce, Result, make_policy
from fastnas.search.settings import PolicySettings

TOY = (4, 3, 4)
ALL = list(itertools.product(*map(range, TOY)))
STRATEGIES = ("ppo", "reinforce", "random")
TEMPERATURE = 0.2


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The controller is too small to share; on a busy machine two threads wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def agree(decisions: tuple[int, ...]) -> float:
    """The first and the last decision must agree; the one between does not matter."""
    return float(decisions[0] == decisions[-1])


def one_point(decisions: tuple[int, ...]) -> float:
    return sum(decision == wanted for decision, wanted in zip(decisions, (2, 0, 3), strict=True)) / 3


def toy(strategy: str, seed: int = 0, **settings: Any) -> Policy:
    values = {"strategy": strategy, "learning_rate": 3e-3, "batch": 8} | settings
    return make_policy(PolicySettings(**values), seed, TOY)


def learner(strategy: str, **settings: Any) -> PolicyGradient:
    policy = toy(strategy, **settings)
    assert isinstance(policy, PolicyGradient)
    return policy


def search(policy: Policy, reward: Callable[[tuple[int, ...]], float], rounds: int, count: int = 8) -> list[Proposal]:
    seen = []
    for _ in range(rounds):
        proposals = policy.propose(count)
        policy.observe(Result(proposal, reward(proposal.decisions)) for proposal in proposals)
        seen += proposals
    return seen


def soft_reward(probs: np.ndarray) -> float:
    """Mean reward plus temperature times entropy: largest when mass is spread over everything that agrees."""
    logs = np.log(probs, where=probs > 0, out=np.zeros_like(probs))
    return float(sum(p * agree(d) for p, d in zip(probs, ALL, strict=True)) - TEMPERATURE * (probs * logs).sum())


def best_soft_reward_of_independent_decisions() -> float:
    def negative(logits: np.ndarray) -> float:
        parts = np.split(logits, np.cumsum(TOY)[:-1])
        first, middle, last = (np.exp(part) / np.exp(part).sum() for part in parts)
        return -soft_reward(np.einsum("i,j,k->ijk", first, middle, last).ravel())

    rng = np.random.default_rng(0)
    return -min(optimize.minimize(negative, rng.normal(0, 2, sum(TOY))).fun for _ in range(12))


@pytest.mark.parametrize("strategy", ["ppo", "reinforce"])
def test_two_decisions_learn_to_agree_beyond_what_independent_ones_can(strategy: str) -> None:
    # A certain pair agrees too, without depending on anything. With a bonus for entropy it is not enough: the optimum
    # is every agreeing pair alike, which no product of independent distributions can express.
    optimum = TEMPERATURE * math.log(sum(math.exp(agree(decisions) / TEMPERATURE) for decisions in ALL))
    independent = best_soft_reward_of_independent_decisions()
    assert optimum - independent > 0.1
    policy = learner(strategy, entropy_bonus=TEMPERATURE, batch=32)
    search(policy, agree, rounds=150, count=32)
    reached = soft_reward(policy.score(ALL).exp().double().numpy())
    assert reached > independent + 0.8 * (optimum - independent)


@pytest.mark.parametrize("strategy", ["ppo", "reinforce"])
@pytest.mark.parametrize("reward", [agree, one_point])
def test_learning_reaches_the_optimum(strategy: str, reward: Callable[[tuple[int, ...]], float]) -> None:
    policy = learner(strategy)
    seen = search(policy, reward, rounds=100)
    assert np.mean([reward(proposal.decisions) for proposal in seen[-80:]]) > 0.95
    assert np.mean([reward(proposal.decisions) for proposal in seen[:40]]) < 0.7


def test_learning_reaches_the_optimum_from_stale_results_in_any_order() -> None:
    policy, out, rng, rewards = toy("ppo"), [], np.random.default_rng(0), []
    stale = 0
    for _ in range(800):
        out += policy.propose(1 if len(out) >= 32 else 2)
        proposal = out.pop(int(rng.integers(len(out))))
        stale = max(stale, policy.version - proposal.version)
        rewards.append(one_point(proposal.decisions))
        policy.observe([Result(proposal, rewards[-1])])
    assert stale >= 3
    assert np.mean(rewards[-80:]) > 0.95


def test_random_search_is_uniform_and_stays_so() -> None:
    policy = RandomSearch(TOY, seed=0)
    seen = search(policy, one_point, rounds=1, count=20000)
    for step, choices in enumerate(TOY):
        shares = np.bincount([proposal.decisions[step] for proposal in seen], minlength=choices) / len(seen)
        assert np.allclose(shares, 1 / choices, atol=0.015)
    assert math.exp(seen[0].log_prob) == pytest.approx(1 / len(ALL))


def test_proposals_carry_the_probability_the_controller_gives_them() -> None:
    policy = learner("ppo")
    search(policy, one_point, rounds=5)
    proposals = policy.propose(100)
    scores = policy.score([proposal.decisions for proposal in proposals])
    assert np.allclose([proposal.log_prob for proposal in proposals], scores, atol=1e-6)
    assert {proposal.version for proposal in proposals} == {5}
    assert [proposal.number for proposal in proposals] == list(range(40, 140))


def test_ppo_stops_pushing_a_ratio_that_has_left_its_clip() -> None:
    policy = learner("ppo", clip=0.1)
    old = torch.zeros(4)
    log_probs = torch.tensor([1.2, 1.05, 0.8, 0.95]).log().requires_grad_()
    policy.loss(log_probs, old, torch.tensor([1.0, 1.0, -1.0, -1.0])).backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([0, -1.05 / 4, 0, 0.95 / 4])


def test_the_baseline_decays_per_result() -> None:
    policy = learner("reinforce", baseline_decay=0.95, batch=100)
    for proposal, reward in zip(policy.propose(3), (0.5, 1.0, 0.0), strict=True):
        policy.observe([Result(proposal, reward)])
    assert policy.baseline == pytest.approx(0.95 * (0.95 * 0.5 + 0.05 * 1.0))


def test_gradients_are_clipped_to_their_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, norms = learner("reinforce", gradient_norm=2.0), []

    def step() -> None:
        norms.append(
            torch.nn.utils.get_total_norm([p.grad for p in policy.controller.parameters() if p.grad is not None])
        )

    monkeypatch.setattr(policy.optimizer, "step", step)
    search(policy, lambda decisions: 1e4 * decisions[0], rounds=3)
    assert norms == pytest.approx([2.0] * 3, rel=1e-3)


def test_a_failed_candidate_teaches_nothing_and_is_not_proposed_again() -> None:
    policy = learner("ppo")
    before = policy.score(ALL)
    policy.observe(Result(proposal, None) for proposal in policy.propose(8))
    assert torch.equal(policy.score(ALL), before)
    assert policy.baseline is None
    policy.load_state_dict(policy.state_dict())
    assert policy.propose(1)[0].number == 8


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_refused(reward: float) -> None:
    policy = toy("random")
    with pytest.raises(FastnasError, match="candidate 0"):
        policy.observe([Result(policy.propose(1)[0], reward)])


def test_a_candidate_is_observed_once() -> None:
    policy = toy("ppo")
    result = Result(policy.propose(1)[0], 0.5)
    policy.observe([result])
    with pytest.raises(FastnasError, match="observed before"):
        policy.observe([result])


def save(policy: Policy) -> Any:
    """The state after a trip through a file that holds tensors and plain values only."""
    file = io.BytesIO()
    torch.save(policy.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("done", range(0, 21, 5))
def test_a_resumed_search_equals_an_undisturbed_one(strategy: str, done: int) -> None:
    """Interrupted anywhere in a batch, with a candidate in the history that the saved state does not know of."""
    whole = search(toy(strategy), one_point, rounds=40, count=1)

    policy = toy(strategy)
    history = search(policy, one_point, rounds=done, count=1)
    state = save(policy)
    history += search(policy, one_point, rounds=1, count=1)
    policy.propose(1)  # in flight when the process dies

    policy = toy(strategy)
    policy.load_state_dict(state)
    unseen = [proposal for proposal in history if not policy.observed(proposal.number)]
    assert len(unseen) == 1
    policy.observe(Result(proposal, one_point(proposal.decisions)) for proposal in unseen)
    assert history + search(policy, one_point, rounds=40 - len(history), count=1) == whole


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_candidates_in_flight_are_proposed_again_under_their_numbers(strategy: str) -> None:
    policy = toy(strategy)
    proposals = policy.propose(8)
    for index in (1, 4):
        policy.observe([Result(proposals[index], 0.5)])
    state = save(policy)
    policy.observe([Result(policy.propose(1)[0], 0.5)])  # number 8, in the history but not in the state
    later = policy.propose(2)
    policy.observe([Result(later[1], 0.25)])  # number 10; 9 is lost

    resumed = toy(strategy)
    resumed.load_state_dict(state)
    resumed.observe([Result(Proposal(8, (0, 0, 0), -3.0, 0), 0.5), Result(later[1], 0.25)])
    again = resumed.propose(8)
    assert [proposal.number for proposal in again] == [0, 2, 3, 5, 6, 7, 9, 11]
    assert again[:6] == [proposals[index] for index in (0, 2, 3, 5, 6, 7)]


def test_the_seed_decides_everything() -> None:
    torch.manual_seed(123)
    first = search(toy("ppo", seed=1), one_point, rounds=4)
    torch.manual_seed(456)
    assert search(toy("ppo", seed=1), one_point, rounds=4) == first
    assert search(toy("ppo", seed=2), one_point, rounds=4) != first


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (lambda: toy("reinforce"), "strategy 'PPO'"),
        (lambda: toy("ppo", seed=5), "seed 0"),
        (lambda: make_policy(PolicySettings(), 0), "choices"),
    ],
)
def test_a_state_of_another_search_is_refused(other: Callable[[], Policy], complaint: str) -> None:
    with pytest.raises(FastnasError, match=complaint):
        other().load_state_dict(save(toy("ppo")))


@pytest.mark.parametrize(("strategy", "kind"), [("ppo", PPO), ("reinforce", Reinforce), ("random", RandomSearch)])
def test_settings_name_the_strategy_over_the_real_space(strategy: Any, kind: type[Policy]) -> None:
    policy = make_policy(PolicySettings(strategy=strategy), 0)
    assert type(policy) is kind
    assert policy.choices == decision_choices()
    assert len(policy.propose(1)[0].decisions) == 19
