"""Short training of a candidate to estimate its quality (paper Sect. 3.2): two stages with a stop rule between them.

Stage 1 trains the decoder alone on stored encoder outputs; stage 2 trains encoder and decoder together on images. An
evaluation is a pure function of genotype, settings and seed.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fastnas.errors import FastnasError, first_line
from fastnas.models.decoder import Decoder
from fastnas.models.encoder import Encoder
from fastnas.models.genotype import Genotype
from fastnas.models.network import Network
from fastnas.search.evaluation.data import SearchImages, train_crop, val_crop
from fastnas.search.evaluation.encoder_cache import CPU, Features
from fastnas.search.evaluation.reward import reward
from fastnas.search.settings import EvaluationSettings
from fastnas.tasks.registry import head_for
from fastnas.train.loaders import (
    EpochBatches,
    SeededSamples,
    derived_seed,
    eval_loader,
    killed_loaders_named,
    train_loader,
)
from fastnas.train.objective import NotFinite, WeightUpdate, require_finite_loss, training_loss

VALIDATION_BATCH = 32
STAGE1_SHARE, STAGE2_SHARE = 0.1, 1 / 3
"""How old the weights of the EMA are at most, as a share of a stage's steps. Stage 1 begins with random weights, stage
2 with those of stage 1; a third is what the paper's decay of 0.99 is of its 300 steps."""


class CandidateFailed(FastnasError):
    """A candidate that cannot be evaluated, with the reason; the search goes on without it."""


@dataclass
class Evaluation:
    """The result of evaluating one candidate.

    Attributes:
        stage1: reward after stage 1; None if the stop rule ended it before.
        stage2: reward after stage 2; None if the stop rule ended it, or there is no stage 2.
        scores: metrics behind the last reward; those of stage 1 also under `stage1/NAME`.
        seconds: duration of `stage1` and `stage2`.
        rungs: rewards within stage 1, by epoch.
    """

    stage1: float | None = None
    stage2: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    rungs: dict[int, float] = field(default_factory=dict)

    @property
    def reward(self) -> float:
        """The reward of the last stage that it reached, or of its last rung."""
        if self.stage2 is not None:
            return self.stage2
        return self.stage1 if self.stage1 is not None else list(self.rungs.values())[-1]


@dataclass
class Evaluator:
    """Everything that all evaluations share. An evaluation changes none of it.

    Attributes:
        settings: how candidates are trained.
        images: for stage 2, and the task.
        encoder: pretrained, frozen; stage 2 trains a copy.
        train, val: its outputs for meta-train and meta-val.
        device: where training happens.
        workers: processes that load images for stage 2.
    """

    settings: EvaluationSettings
    images: SearchImages
    encoder: Encoder
    train: Features
    val: Features
    device: torch.device = CPU
    workers: int = 0

    def __post_init__(self) -> None:
        self.head = head_for(self.images.task)

    def evaluate(
        self,
        genotype: Genotype,
        seed: int,
        goes_on: Callable[[float, int], bool] = lambda reward, epoch: True,
        notify: Callable[[str], None] = lambda stage: None,
        rungs: Sequence[int] = (),
    ) -> Evaluation:
        """Train and evaluate a candidate.

        Args:
            genotype: the candidate.
            seed: of its weights, the order of its data, and the crops of stage 2.
            goes_on: the stop rule: whether it goes on, given its reward after an epoch of stage 1: a rung or the last.
            notify: called with the name of a stage when it begins.
            rungs: epochs of stage 1 after which it is evaluated, besides the last.

        Raises:
            CandidateFailed: it ran out of memory, its loss is NaN or infinite, or PyTorch cannot compute it.
            FastnasError: the GPU failed, a loader process was killed, or nothing in meta-val can be measured; no other
                candidate would do better.
        """
        result, how = Evaluation(), self.settings
        with _failures_named(), killed_loaders_named(), torch.random.fork_rng(devices=_cuda(self.device)):
            torch.manual_seed(derived_seed(seed, 0))
            decoder = Decoder(
                genotype,
                self.encoder.channels,
                how.channels,
                how.sep_repeats,
                self.images.task.outputs,
                "cell" if how.auxiliary else "none",
                self.images.task.head_stds,
            ).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            with _timed(result.seconds, "stage1"):
                notify("stage 1")

                def rung_passed(reward: float, epoch: int) -> bool:
                    result.rungs[epoch] = reward
                    return goes_on(reward, epoch)

                result.stage1, scores = self.stage1(decoder, seed, rung_passed, rungs)
            result.scores = {f"stage1/{name}": value for name, value in scores.items()} | scores
            if how.stage2_epochs and result.stage1 is not None and goes_on(result.stage1, how.stage1_epochs):
                with _timed(result.seconds, "stage2"):
                    notify("stage 2")
                    result.stage2, scores = self.stage2(decoder, seed)
                result.scores |= scores
        return result

    def stage1(
        self,
        decoder: Decoder,
        seed: int,
        goes_on: Callable[[float, int], bool] = lambda reward, epoch: True,
        rungs: Sequence[int] = (),
    ) -> tuple[float | None, dict[str, float]]:
        """Train the decoder on stored encoder outputs.

        Returns:
            Its reward, None if it did not go on from a rung; and the metrics of its last evaluation.
        """
        how, used, count = self.settings, [int(i) for i in decoder.adapters], len(self.train)
        batch = min(how.stage1_batch, count)
        update = self._update(decoder, [self._adam(decoder)], how.polyak_stage1, STAGE1_SHARE)
        for epoch in range(how.stage1_epochs):
            decoder.train()
            order = torch.randperm(count, generator=torch.Generator().manual_seed(derived_seed(seed, 1, epoch)))
            total = torch.zeros((), device=self.device)
            for step in range(count // batch):
                chosen = order[step * batch : (step + 1) * batch].to(self.train.maps[0].device)
                outputs = self._logits(decoder, [each.to(self.device) for each in self.train.inputs(chosen, used)])
                targets = self.train.targets(chosen) if how.distillation else None
                total += self._step(update, outputs, self._moved(self.train.batch(chosen)), targets)
            require_finite_loss(float(total), f"stage 1, epoch {epoch + 1}")
            if epoch + 1 in rungs and epoch + 1 < how.stage1_epochs:
                value, scores = self._score_features(update.result)
                if not goes_on(value, epoch + 1):
                    return None, scores
        return self._score_features(update.result)

    def stage2(self, decoder: Decoder, seed: int) -> tuple[float, dict[str, float]]:
        """Train a copy of the encoder and the decoder end to end; their reward, and the metrics behind it."""
        how, task = self.settings, self.images.task
        network = Network(copy.deepcopy(self.encoder).requires_grad_(True), decoder)
        network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        encoder_sgd = torch.optim.SGD(
            network.encoder.parameters(), how.encoder_lr, how.encoder_momentum, weight_decay=how.weight_decay
        )
        update = self._update(network, [self._adam(decoder), encoder_sgd], how.polyak_stage2, STAGE2_SHARE)
        scale = (how.scale_low, how.scale_high)
        crop = train_crop(task, how.stage2_crop, how.stage2_short_side, scale, self.encoder.normalisation)
        samples = SeededSamples([self.images.train], crop, derived_seed(seed, 2))
        batches = EpochBatches([len(samples)], min(how.stage2_batch, len(samples)), derived_seed(seed, 3))
        network.train()
        for epoch in range(how.stage2_epochs):
            batches.epoch = epoch
            total = torch.zeros((), device=self.device)
            for batch in self._loaded(train_loader(samples, batches, self.workers)):
                total += self._step(update, self._logits(network, batch["image"]), batch)
            require_finite_loss(float(total), f"stage 2, epoch {epoch + 1}")
        return self._score_images(update.result)

    def _logits(self, module: nn.Module, inputs: Tensor | list[Tensor]) -> list[Tensor]:
        """Float32 logits of the main head, and in training of the auxiliary ones, computed in the precision set."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            outputs = module(inputs)
        return [each.float() for each in (outputs if isinstance(outputs, list) else [outputs])]

    def _update(
        self, network: nn.Module, optimisers: Sequence[torch.optim.Optimizer], ema_decay: float, ema_share: float
    ) -> WeightUpdate:
        how = self.settings
        norms = [(optimiser, how.gradient_norm) for optimiser in optimisers]
        return WeightUpdate(network, norms, ema_decay if how.polyak else 0.0, ema_share=ema_share)

    def _step(
        self, update: WeightUpdate, outputs: list[Tensor], batch: dict[str, Any], targets: Tensor | None = None
    ) -> Tensor:
        """Train on one batch; returns the loss before the step."""
        how = self.settings
        loss = training_loss(
            self.head, outputs, batch,
            auxiliary_weight=how.auxiliary_weight, distillation=how.distillation_weight,
            targets=None if targets is None else targets.to(self.device),
        )  # fmt: skip
        loss.backward()
        update.step()
        return loss.detach()

    def _score_features(self, decoder: nn.Module) -> tuple[float, dict[str, float]]:
        """The reward of a decoder on the stored outputs of meta-val."""
        decoder.eval()
        metrics, used = self.head.metrics(), [int(i) for i in decoder.adapters]  # type: ignore[union-attr]
        with torch.inference_mode():
            for chosen in torch.arange(len(self.val)).split(VALIDATION_BATCH):
                chosen = chosen.to(self.val.maps[0].device)
                (logits,) = self._logits(decoder, [each.to(self.device) for each in self.val.inputs(chosen, used)])
                metrics.update(logits, self._moved(self.val.batch(chosen)))
        return self._reward(metrics)

    def _score_images(self, network: nn.Module) -> tuple[float, dict[str, float]]:
        """The reward of a network on the images of meta-val."""
        network.eval()
        metrics, how, task = self.head.metrics(), self.settings, self.images.task
        crop = val_crop(task, how.stage2_crop, how.stage2_short_side, self.encoder.normalisation)
        with torch.inference_mode():
            for batch in self._loaded(eval_loader(self.images.val, crop, VALIDATION_BATCH, self.workers)):
                (logits,) = self._logits(network, batch["image"])
                metrics.update(logits, batch)
        return self._reward(metrics)

    def _reward(self, metrics: Any) -> tuple[float, dict[str, float]]:
        value, scores = reward(self.images.task, metrics)
        if not math.isfinite(value):
            raise FastnasError(
                f"the images held out for the reward show nothing that {', '.join(scores)} could be measured on: "
                "use more of them (--set evaluation.validation_share=0.3), or other data"
            )
        return value, scores

    def _adam(self, decoder: nn.Module) -> torch.optim.Optimizer:
        how = self.settings
        return torch.optim.Adam(decoder.parameters(), how.decoder_lr, weight_decay=how.weight_decay, fused=True)

    def _loaded(self, loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
        for batch in loader:
            moved = self._moved(batch)
            moved["image"] = moved["image"].contiguous(memory_format=torch.channels_last)
            yield moved

    def _moved(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch on the device, its images and labels as plain tensors."""
        return {
            name: value.as_subclass(Tensor).to(self.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 3)


@contextmanager
def _failures_named() -> Iterator[None]:
    """Turn errors into a candidate's failure, unless every later candidate would meet them too."""
    try:
        yield
    except NotFinite as error:
        raise CandidateFailed(str(error)) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise CandidateFailed("out of memory") from error
    except torch.AcceleratorError as error:  # the process cannot use its GPU again
        raise FastnasError(f"the GPU failed: {first_line(error)}; continue with --resume") from error
    except RuntimeError as error:
        short_of_memory = "can't allocate memory" in str(error)
        raise CandidateFailed("out of memory" if short_of_memory else first_line(error)) from error
