"""One training in its run folder, from settings to the best model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import torch
from lightning_fabric import Fabric

from fastnas.files import locked
from fastnas.hardware import has_bfloat16, keep_freed_memory
from fastnas.models.spec import build
from fastnas.train.initialise import initialise
from fastnas.train.loop import Observer, Trainer, TrainerOptions
from fastnas.train.processes import Machine, in_first_process
from fastnas.train.settings import RunSettings
from fastnas.train.teacher import load_teacher


def run_training(
    fabric: Fabric,
    folder: Path,
    settings: RunSettings,
    machine: Machine,
    observe: Callable[[Trainer], AbstractContextManager[Observer]],
    say: Callable[[str], object],
    *,
    resumed: bool,
) -> Trainer:
    """Train to the end of the recipe.

    Args:
        fabric: of the machine, launched.
        folder: of the run, locked meanwhile.
        settings: of a run that begins, they are written into the folder.
        machine: how this machine carries it out.
        observe: makes what is told of the progress, in the first process.
        say: prints a line.
        resumed: continue from the folder's state.

    Returns:
        The trainer, at the end of the run.

    Raises:
        FastnasError: the folder is in use, data, weights or teacher cannot be had, there is no state to resume, or the
            training fails (see `Trainer.run`).
    """
    recipe = settings.recipe
    if fabric.device.type == "cpu":
        keep_freed_memory()
    fabric.seed_everything(settings.seed, verbose=False)
    with ExitStack() as held:
        if torch.distributed.is_initialized():
            # Fabric leaves gloo's connections open to the end of the process, where their threads can abort it.
            held.callback(torch.distributed.destroy_process_group)
        in_first_process(fabric, lambda: held.enter_context(locked(folder, "training")))
        network = build(settings.model, "none" if resumed else settings.encoder_weights)
        if settings.init and not resumed:
            say(initialise(network, settings.model, settings.init))
        val = settings.open_val()
        teacher = None
        if settings.teacher:
            normalisation = network.encoder.normalisation
            teacher = load_teacher(settings.teacher, settings.model.task, fabric.device, recipe.crop, normalisation)
        trainer = Trainer(
            fabric, settings.model, network, recipe, settings.open_train, val, folder,
            options=TrainerOptions(
                seed=settings.seed, workers=machine.workers, accumulate=settings.accumulate,
                channels_last=machine.channels_last, compile=machine.compile, eval_every=settings.eval_every,
                save_every=machine.save_every,
            ),
            teacher=teacher,
        )  # fmt: skip
        if resumed:
            trainer.restore()
        else:
            in_first_process(fabric, lambda: settings.save(folder))
        if settings.precision == "bf16" and not has_bfloat16(fabric.device):
            say(f"{fabric.device} has no bfloat16 arithmetic: --precision fp32 is many times faster here")
        length = f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)}"
        say(f"training into {folder}: recipe {recipe.name}, {length}, on {fabric.device}")
        if fabric.is_global_zero:
            trainer.observer = held.enter_context(observe(trainer))
        trainer.run()
    return trainer
