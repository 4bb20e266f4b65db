"""The training step: the terms of the loss and their weights, gradient clipping, the EMA, and finite checks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastnas.data.synthetic.dataset import TASKS
from fastnas.errors import FastnasError
from fastnas.tasks.registry import head_for
from fastnas.train.objective import (
    NotFinite,
    WeightUpdate,
    freeze_batch_norm,
    require_finite_loss,
    require_finite_weights,
    split_batch,
    training_loss,
)

HEAD = head_for(TASKS["depth"])
BATCH = {"depth": torch.full((2, 16, 16), 3.0)}


def logits(value: float, side: int = 8) -> Tensor:
    return torch.full((2, 1, side, side), value)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    main, first, second = (HEAD.loss(logits(value), BATCH) for value in (1.0, 5.0, 9.0))
    outputs = [logits(1.0), logits(5.0), logits(9.0, side=4)]
    assert training_loss(HEAD, outputs[:1], BATCH) == main
    torch.testing.assert_close(training_loss(HEAD, outputs, BATCH, auxiliary_weight=0.3), main + 0.3 * (first + second))
    # The teacher's logits have another size; the mean squared difference to the main logits is (4 - 1)^2.
    taught = training_loss(HEAD, outputs, BATCH, targets=logits(4.0, side=2), distillation=0.5)
    torch.testing.assert_close(taught, main + 0.5 * torch.tensor(9.0))
    assert training_loss(HEAD, outputs[:1], BATCH, targets=logits(4.0), distillation=0.0) == main


def test_pixels_that_the_teacher_does_not_know_have_no_distillation_loss() -> None:
    outputs = [logits(1.0).requires_grad_()]
    targets = logits(4.0)
    targets[0, :, :4] = math.nan
    targets[1] = math.nan
    main = HEAD.loss(outputs[0], BATCH)
    loss = training_loss(HEAD, outputs, BATCH, targets=targets, distillation=0.5)
    torch.testing.assert_close(loss, main + 0.5 * torch.tensor(9.0))
    loss.backward()
    assert outputs[0].grad is not None
    assert outputs[0].grad.isfinite().all()
    unknown = torch.full_like(targets, math.nan)
    assert training_loss(HEAD, outputs, BATCH, targets=unknown, distillation=0.5) == main


def test_the_loss_reaches_every_head_but_not_the_teacher() -> None:
    outputs = [logits(1.0).requires_grad_(), logits(5.0).requires_grad_()]
    targets = logits(4.0)
    training_loss(HEAD, outputs, BATCH, auxiliary_weight=0.3, targets=targets, distillation=0.5).backward()
    assert all(output.grad is not None and output.grad.abs().sum() > 0 for output in outputs)
    assert targets.grad is None


def parts() -> tuple[Any, list[torch.optim.Optimizer]]:
    """Two linear layers whose gradients have the norms 5 and 5, each with SGD of learning rate 1."""
    network = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False))
    for layer in network:
        nn.init.zeros_(layer.weight)
        layer.weight.grad = torch.tensor([[3.0, 4.0]])
    return network, [torch.optim.SGD(layer.parameters(), lr=1.0) for layer in network]


def test_each_optimiser_clips_its_own_gradients() -> None:
    network, optimisers = parts()
    WeightUpdate(network, [(optimisers[0], 1.0), (optimisers[1], 0.0)]).step()
    torch.testing.assert_close(network[0].weight.detach(), torch.tensor([[-0.6, -0.8]]), rtol=1e-5, atol=0)
    torch.testing.assert_close(network[1].weight.detach(), torch.tensor([[-3.0, -4.0]]))
    assert all(not weight.grad for weight in network.parameters())


def test_the_ema_is_the_plain_computation() -> None:
    network, optimisers = parts()
    network.register_buffer("statistic", torch.tensor(1.0))
    update = WeightUpdate(network, [(each, 0.0) for each in optimisers], ema_decay=0.3)
    expected = torch.zeros(1, 2)
    for step in range(4):
        network[0].weight.grad = torch.tensor([[1.0, -2.0]])
        network.get_buffer("statistic").fill_(step)
        update.step()
        weight = network[0].weight.detach()
        decay = (0.0, 2 / 11, 3 / 12, 0.3)[step]  # (1 + step) / (10 + step), at most 0.3
        expected = decay * expected + (1 - decay) * weight
    assert update.result is not network
    torch.testing.assert_close(update.result.get_parameter("0.weight"), nn.Parameter(expected))
    assert update.result.get_buffer("statistic") == 3
    assert WeightUpdate(network, [], ema_decay=0.0).result is network


def test_only_finite_losses_and_weights_pass() -> None:
    network, _ = parts()
    require_finite_loss(1.5, "epoch 1")
    require_finite_weights(network, "update 3")
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(NotFinite, match=rf"^the loss became {value} in epoch 1, batch 2$"):
            require_finite_loss(value, "epoch 1, batch 2")
        nn.init.constant_(network[1].weight, value)
        with pytest.raises(NotFinite, match=r"^a weight is NaN or infinite after update 3$"):
            require_finite_weights(network, "update 3")


def test_gradient_accumulation_divides_a_batch() -> None:
    batch = {"image": torch.arange(6), "name": list("abcdef")}
    assert split_batch(batch, 1) == [batch]
    parts = split_batch(batch, 3)
    assert [part["image"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [part["name"] for part in parts] == [["a", "b"], ["c", "d"], ["e", "f"]]
    with pytest.raises(FastnasError, match="a batch of 6 images per process cannot be divided into 4 accumulation st"):
        split_batch(batch, 4)
    with pytest.raises(FastnasError, match="batch norm needs at least 2 images at a time"):
        split_batch(batch, 6)


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
    freeze_batch_norm(network.train())
    network(torch.randn(2, 3, 8, 8))
    assert not network[1].training
    assert network[2].training
    assert torch.equal(network[1].running_mean, torch.zeros(4))
