"""One training step, shared by full training, both stages of the search and the encoder's warm-up.

The loss (task loss, auxiliary losses, knowledge distillation), and what follows its gradients: clipping, the
optimisers, the exponential moving average (EMA) of the weights, and the checks for NaN or infinite values. The loops
stay with their owners: they differ in data, logging and state.

Shapes: N batch, K outputs, h and w the logits' size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.swa_utils import AveragedModel

from fastnas.errors import FastnasError
from fastnas.tasks.base import Batch, TaskHead
from fastnas.train.settings import Optimiser


class NotFinite(FastnasError):
    """A loss or a weight is NaN or infinite."""


def training_loss(
    head: TaskHead,
    outputs: Sequence[Tensor],
    batch: Batch,
    *,
    auxiliary_weight: float = 0.0,
    targets: Tensor | None = None,
    distillation: float = 0.0,
) -> Tensor:
    """The scalar that a step minimises.

    Args:
        head: of the task.
        outputs: the logits [N, K, h, w], then those of the auxiliary heads.
        batch: the labels.
        auxiliary_weight: of the loss of each auxiliary head.
        targets: a teacher's logits [N, K, h', w'], brought to h x w; NaN where it has none.
        distillation: weight of `TaskHead.distillation`.
    """
    logits, *auxiliary = outputs
    loss = head.loss(logits, batch)
    for other in auxiliary:
        loss = loss + auxiliary_weight * head.loss(other, batch)
    if targets is not None and distillation:
        targets = F.interpolate(targets.float(), size=logits.shape[-2:], mode="bilinear", align_corners=False)
        loss = loss + distillation * head.distillation(logits, targets)
    return loss


def known_targets(stored: Tensor | None, computed: Tensor) -> Tensor:
    """A teacher's logits [N, K, h, w] with those that came with the samples in their place where these are known."""
    if stored is None:
        return computed
    stored = F.interpolate(stored.float(), size=computed.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(stored.isfinite(), stored, computed)


def split_batch(batch: Batch, steps: int) -> list[Batch]:
    """The batch in equal parts, one for each gradient accumulation step.

    Raises:
        FastnasError: it does not divide, or leaves one image to a step.
    """
    size = len(batch["image"])
    if size % steps:
        raise FastnasError(f"a batch of {size} images per process cannot be divided into {steps} accumulation steps")
    share = size // steps
    if share == 1:
        raise FastnasError("batch norm needs at least 2 images at a time per process: use a larger --set batch")
    if steps == 1:
        return [batch]
    return [{key: value[i : i + share] for key, value in batch.items()} for i in range(0, size, share)]


def freeze_batch_norm(module: nn.Module) -> None:
    """Keep the running statistics of every batch norm inside; its scale and shift are still trained."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()


def clip_gradients(optimiser: Optimizer, max_norm: float) -> None:
    """Scale the gradients of an optimiser's parameters down to a joint norm of `max_norm`."""
    nn.utils.clip_grad_norm_([weight for group in optimiser.param_groups for weight in group["params"]], max_norm)


def make_optimiser(part: nn.Module, how: Optimiser) -> Optimizer:
    """The optimiser of the trainable parameters of encoder or decoder."""
    parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
    if how.kind == "sgd":
        return SGD(parameters, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay)
    return Adam(parameters, lr=how.lr, betas=how.betas, eps=how.eps, weight_decay=how.weight_decay)


def decay_after(steps: int, decay: float, share: float = 0.1) -> float:
    """The decay of an EMA after so many steps: min(decay, (1 + steps) / (1 / share + steps)).

    The averaged weights are so on average at most `share` of the steps old, and in a short training they are not those
    of its beginning. With a tenth it is the rule of TensorFlow's `ExponentialMovingAverage` with `num_updates`.
    """
    return min(decay, (1 + steps) / (1 / share + steps))


class WeightUpdate:
    """From gradients to new weights: clip, step every optimiser, and update the EMA.

    Args:
        network: holds all the optimisers' parameters; weights and buffers are changed in place only.
        optimisers: each with the largest norm of its parameters' gradients, 0 for no clipping.
        ema_decay: decay of the EMA of the weights, lower in the first steps; 0 for no EMA.
        ema_share: how old its weights are at most, see `decay_after`.
        clip: clips the gradients of an optimiser to a norm.

    Attributes:
        ema: the averaged weights, with the latest statistics of batch norm; None without an EMA.
    """

    def __init__(
        self,
        network: nn.Module,
        optimisers: Sequence[tuple[Optimizer, float]],
        ema_decay: float = 0.0,
        clip: Callable[[Optimizer, float], object] = clip_gradients,
        *,
        ema_share: float = 0.1,
    ) -> None:
        self.network, self.optimisers, self.clip = network, optimisers, clip
        self.ema_decay, self.ema_share = ema_decay, ema_share
        self.ema = AveragedModel(network) if ema_decay else None
        # Listed once: AveragedModel.update_parameters goes through all modules at every step, which takes ten times as
        # long as the average itself, 3 % of stage 1 of a search.
        modules = [] if self.ema is None else [self.ema.module, network]
        self._weights: list[list[Tensor]] = [list(module.parameters()) for module in modules]
        self._buffers = [list(module.buffers()) for module in modules]

    def step(self) -> None:
        """Update weights and EMA from the gradients, and clear these."""
        for optimiser, max_norm in self.optimisers:
            if max_norm:
                self.clip(optimiser, max_norm)
            optimiser.step()
            optimiser.zero_grad()
        if self.ema is not None:
            self._average(self.ema)

    @torch.no_grad()
    def _average(self, ema: AveragedModel) -> None:
        """Update the EMA, which begins with the weights after the first step."""
        count = int(ema.n_averaged)
        decay = decay_after(count, self.ema_decay, self.ema_share) if count else 0.0
        averages, weights = self._weights
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, buffer in zip(*self._buffers, strict=True):
            average.copy_(buffer)
        ema.n_averaged += 1

    @property
    def result(self) -> nn.Module:
        """The network to evaluate: that of the EMA, or with the latest weights if there is none."""
        return self.network if self.ema is None else self.ema.module


def require_finite_loss(loss: float, where: str) -> None:
    """Insist on a loss that is neither NaN nor infinite.

    Raises:
        NotFinite: it is one; the message says `where`.
    """
    if not math.isfinite(loss):
        raise NotFinite(f"the loss became {loss} in {where}")


def require_finite_weights(network: nn.Module, where: str) -> None:
    """Insist on weights that are neither NaN nor infinite.

    Raises:
        NotFinite: one is; the message says `where`.
    """
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        raise NotFinite(f"a weight is NaN or infinite after {where}")
