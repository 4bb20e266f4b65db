"""The training loop: every task, network and recipe, on one CPU or many GPUs (Lightning Fabric).

A run is a folder. Its `state.pt` holds everything needed to resume: weights, optimisers, EMA, position in the data,
and the rows measured so far. All randomness is derived from (seed, epoch, position), so a run that is killed and
resumed gives the same result as one that never stopped. `model.safetensors` is the best model so far.

Elsewhere: batches (`fastnas.train.loaders`), the loss and the weight update (`fastnas.train.objective`), metrics of a
task (`fastnas.tasks.base`), and what is logged (`Observer`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fastnas.data import DenseDataset
from fastnas.data.transforms import train_transform
from fastnas.errors import FastnasError, first_line
from fastnas.models.checkpoint import FILE_NAME, save_model
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec
from fastnas.storing import write_state
from fastnas.tasks import Multi
from fastnas.tasks.base import Batch, Score, TaskHead
from fastnas.tasks.registry import head_for
from fastnas.train.evaluate import Predictor, evaluate
from fastnas.train.loaders import EpochBatches, SeededSamples, by_task, derived_seed, killed_loaders_named, train_loader
from fastnas.train.objective import (
    WeightUpdate,
    freeze_batch_norm,
    known_targets,
    make_optimiser,
    require_finite_loss,
    require_finite_weights,
    split_batch,
    training_loss,
)
from fastnas.train.processes import in_first_process
from fastnas.train.settings import Phase, Recipe

STATE = "state.pt"
_ADVICE = "the last saved state is kept: lower the learning rates, or clip gradients (--set decoder.clip=3)"

Row = dict[str, float]


class Observer:
    """Callbacks of a run. These do nothing: override what is needed."""

    def step(self, progress: RunProgress, steps: int, loss: float) -> None:
        """After each batch: `progress.step` of `steps` in this epoch."""

    def epoch(self, row: Row, network: nn.Module) -> None:
        """After each evaluated epoch; `network` is what was evaluated."""


@dataclass(frozen=True)
class TrainerOptions:
    """Options of a trainer that are not part of the recipe.

    Attributes:
        seed: of weights, data order and transforms.
        workers: loader processes.
        accumulate: gradient accumulation steps per batch; batch norm sees the images of one step.
        channels_last: memory layout with the channels innermost, faster on most machines.
        compile: use torch.compile.
        eval_every: epochs between evaluations; the last is always evaluated.
        save_every: seconds between saves of the state within an epoch.
    """

    seed: int = 0
    workers: int = 2
    accumulate: int = 1
    channels_last: bool = True
    compile: bool = False
    eval_every: int = 1
    save_every: float = 300.0


@dataclass
class RunProgress:
    """The progress of a run.

    Attributes:
        epoch: epochs done.
        step: batches done of the next one.
        loss_sum: of those batches.
        updates: batches done since the beginning.
        best: the best score.
        rows: one for every evaluated epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    updates: int = 0
    best: float | None = None
    rows: list[Row] = field(default_factory=list)


class Trainer:
    """Trains a network by a recipe.

    Args:
        fabric: launched; decides device, precision and processes.
        spec: what the network is.
        network: built from `spec`.
        recipe: how it is trained.
        data: opens a training dataset by its name in the recipe's phases.
        val: what is evaluated: one or more datasets, whose metrics are joined.
        folder: of the run.

    Raises:
        FastnasError: a phase's data cannot be opened, has another task, or fewer samples than a batch.
    """

    def __init__(
        self,
        fabric: Fabric,
        spec: ModelSpec,
        network: Network,
        recipe: Recipe,
        data: Callable[[str], DenseDataset],
        val: Sequence[DenseDataset],
        folder: Path,
        *,
        options: TrainerOptions = TrainerOptions(),
        teacher: Predictor | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.fabric, self.spec, self.recipe, self.data, self.val = fabric, spec, recipe, data, val
        self.folder, self.options, self.teacher, self.observer = folder, options, teacher, observer or Observer()
        self.head: TaskHead = head_for(spec.task, recipe.weights)
        # Several tasks are evaluated on whole images, also the pose.
        self.val_size = None if isinstance(spec.task, Multi) else recipe.val_size
        self.progress = RunProgress()
        if options.channels_last:
            network = network.to(memory_format=torch.channels_last)
        self.raw = network
        self.loaders = {phase.data: self._loader(phase) for phase in recipe.phases}
        optimisers = [make_optimiser(network.encoder, recipe.encoder), make_optimiser(network.decoder, recipe.decoder)]
        network.encoder.requires_grad_(not recipe.freeze_encoder)  # after its optimiser, which wants parameters
        compiled: Any = torch.compile(network) if options.compile else network
        self.network, *self.optimisers = fabric.setup(compiled, *optimisers)
        norms = (recipe.encoder.clip, recipe.decoder.clip)
        self.update = WeightUpdate(network, list(zip(self.optimisers, norms, strict=True)), recipe.polyak, self._clip)

    # -- the run ------------------------------------------------------------------------------------------------------

    @killed_loaders_named()
    def run(self) -> RunProgress:
        """Train to the end of the recipe from wherever the run is.

        Raises:
            FastnasError: the loss or a weight is NaN or infinite, a sample cannot be read, a loader process was killed,
                or the state cannot be written; the last saved state is kept.
        """
        progress = self.progress
        while progress.epoch < self.recipe.epochs:
            phase = self.recipe.phase_at(progress.epoch)
            began = time.monotonic()
            self._epoch(phase, *self.loaders[phase.data])
            loss = progress.loss_sum / progress.step
            progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0
            if progress.epoch % self.options.eval_every == 0 or progress.epoch == self.recipe.epochs:
                self._evaluate(loss, time.monotonic() - began)
            self.save()
        return progress

    def _epoch(self, phase: Phase, loader: DataLoader[Any], batches: EpochBatches) -> None:
        """The rest of the current epoch."""
        progress, epoch = self.progress, self.progress.epoch
        batches.epoch, batches.start = epoch, progress.step
        for optimiser, how in zip(self.optimisers, (self.recipe.encoder, self.recipe.decoder), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = how.lr * self.recipe.lr_factor(epoch)
        self.network.train()
        if phase.freeze_bn:
            freeze_batch_norm(self.network)
        if self.recipe.freeze_encoder:
            self.raw.encoder.eval()
        saved = time.monotonic()
        for batch in loader:
            # Random layers such as dropout do the same wherever the run was interrupted.
            torch.manual_seed(derived_seed(self.options.seed, epoch, progress.step, self.fabric.global_rank, 1))
            loss = self._backward(self.fabric.to_device(batch), phase)
            images = ", ".join(batch["name"][:3])
            where = f"epoch {epoch + 1}, batch {progress.step + 1} of {batches.steps} (images {images}, ...)"
            require_finite_loss(loss, f"{where}; {_ADVICE}")
            self.update.step()
            progress.step += 1
            progress.updates += 1
            progress.loss_sum += loss
            self.observer.step(progress, batches.steps, loss)
            if time.monotonic() - saved > self.options.save_every and progress.step < batches.steps:
                self.save()
                saved = time.monotonic()

    def _backward(self, batch: Batch, phase: Phase) -> float:
        """Compute the gradients; returns the loss, averaged over the processes."""
        parts = split_batch(batch, self.options.accumulate)
        total = torch.zeros((), device=self.fabric.device)
        for i, part in enumerate(parts):
            with self.fabric.no_backward_sync(self.network, enabled=i + 1 < len(parts)):
                loss = self.loss(part, phase) / len(parts)
                self.fabric.backward(loss)
            total += loss.detach()
        if self.fabric.world_size > 1:
            total = cast(Tensor, self.fabric.all_reduce(total, reduce_op="mean"))
        return float(total)

    def loss(self, batch: Batch, phase: Phase) -> Tensor:
        """The training loss of a batch: see `training_loss`."""
        images = batch["image"]
        if self.options.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        outputs, targets = self.network(images), self.head.taught(batch)
        if self.teacher is not None and self.recipe.distillation:
            with torch.no_grad():
                targets = known_targets(targets, self.teacher(images))
        return training_loss(
            self.head, outputs, batch,
            auxiliary_weight=phase.aux_weight, targets=targets, distillation=self.recipe.distillation,
        )  # fmt: skip

    def _clip(self, optimiser: Any, max_norm: float) -> None:
        # Gradients of fp16 overflow now and then; its scaler then skips the step.
        self.fabric.clip_gradients(self.network, optimiser, max_norm=max_norm, error_if_nonfinite=False)

    # -- evaluation ---------------------------------------------------------------------------------------------------

    @property
    def evaluated(self) -> Network:
        """The network that is evaluated and saved: that of the EMA where there is one."""
        return cast(Network, self.update.result)

    def _evaluate(self, loss: float, seconds: float) -> None:
        self._require_finite()
        values = self.evaluate()
        score = self.head.score(values)
        row: Row = {"epoch": self.progress.epoch, "loss": loss, "seconds": seconds, **values}
        self.progress.rows.append(row)
        if better(score, self.progress.best):
            self.progress.best = score.value
            in_first_process(self.fabric, lambda: self._save_model(values))
        in_first_process(self.fabric, lambda: self.observer.epoch(row, self.evaluated))

    def _save_model(self, values: Row) -> None:
        known = {key: value for key, value in values.items() if math.isfinite(value)}
        save_model(self.folder / FILE_NAME, self.evaluated, self.spec, recipe=self.recipe.to_dict(), metrics=known)

    def evaluate(self) -> dict[str, float]:
        """The task's metrics on the validation data."""
        network, fabric = self.evaluated.eval(), self.fabric

        def predict(images: Tensor) -> Tensor:
            with fabric.autocast():
                logits: Tensor = network(images)
            return logits

        metrics = self.head.metrics()
        for dataset in self.val:
            evaluate(
                predict, dataset, self.val_size, fabric.device,
                normalisation=self.raw.encoder.normalisation, metrics=metrics,
                workers=self.options.workers, rank=fabric.global_rank, world=fabric.world_size,
            )  # fmt: skip
        if fabric.world_size > 1:
            shares: list[Any] = [None] * fabric.world_size
            torch.distributed.all_gather_object(shares, metrics)
            metrics = shares[0]
            for share in shares[1:]:
                metrics.merge(share)
        return metrics.compute()

    # -- state --------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state, replacing the last one at once.

        Raises:
            FastnasError: a weight is NaN or infinite, or the disk is full; the last saved state is kept.
        """
        self._require_finite()
        in_first_process(self.fabric, self._save)

    def _save(self) -> None:
        state = {
            "network": self.raw.state_dict(),
            "average": self.update.ema.state_dict() if self.update.ema is not None else None,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "precision": self.fabric.strategy.precision.state_dict(),
            "progress": asdict(self.progress),
        }
        write_state(self.folder / STATE, state)

    def restore(self) -> None:
        """Continue from the folder's state.

        Raises:
            FastnasError: there is none, or it is of another network or recipe.
        """
        path = self.folder / STATE
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.raw.load_state_dict(state["network"])
            if self.update.ema is not None:
                self.update.ema.load_state_dict(state["average"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.fabric.strategy.precision.load_state_dict(state.get("precision", {}))
            self.progress = RunProgress(**state["progress"])
        except FileNotFoundError as error:
            raise FastnasError(f"no {path} to resume; start without --resume") from error
        except Exception as error:  # torch raises many kinds for damaged files and other networks
            raise FastnasError(f"{path} does not continue this run: {first_line(error)}") from error

    def _require_finite(self) -> None:
        require_finite_weights(self.raw, f"update {self.progress.updates}; {_ADVICE}")

    def _loader(self, phase: Phase) -> tuple[DataLoader[Any], EpochBatches]:
        recipe, options, fabric = self.recipe, self.options, self.fabric
        groups = by_task(map(self.data, phase.data), self.spec.task)
        transform = train_transform(
            self.spec.task, recipe.crop, scale=recipe.scale, rotation=recipe.rotation, mirror=recipe.mirror,
            depth_by_zoom=recipe.depth_by_zoom, normalisation=self.raw.encoder.normalisation,
        )  # fmt: skip
        samples = SeededSamples([dataset for group in groups for dataset in group], transform, options.seed)
        sizes = [sum(map(len, group)) for group in groups]
        batches = EpochBatches(sizes, recipe.batch, options.seed, fabric.global_rank, fabric.world_size)
        return train_loader(samples, batches, options.workers), batches


def better(score: Score, best: float | None) -> bool:
    """Whether a score beats the best so far; any number beats none."""
    if best is None or math.isnan(best):
        return True
    return score.value > best if score.higher_is_better else score.value < best
