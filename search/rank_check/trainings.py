"""The trainings of a rank check: which networks are drawn, and training what is not trained yet."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fastnas.config import FILE
from fastnas.errors import FastnasError
from fastnas.files import locked
from fastnas.jetson.files import atomic_path
from fastnas.models.checkpoint import FILE_NAME
from fastnas.search.history import Record
from fastnas.search.report.rank_check import FOLDER, Plan, own_reward, training_name
from fastnas.search.report.statistics import SearchRun
from fastnas.search.rng import generator
from fastnas.train.loop import STATE, Observer, RunProgress, Trainer
from fastnas.train.objective import NotFinite
from fastnas.train.processes import Machine
from fastnas.train.run import run_training
from fastnas.train.settings import Recipe, RunSettings

Observe = Callable[[Trainer], AbstractContextManager[Observer]]

CURRENT = "training"
"""The folder of the training that is under way."""


def drawn(networks: Sequence[Record], count: int, seed: int) -> list[Record]:
    """One network of each of `count` strata of equal size, by rising reward; all of them where there are fewer.

    Args:
        networks: evaluated candidates, each network once.
        count: how many are drawn.
        seed: of the draw.
    """
    ordered = sorted(networks, key=lambda record: (own_reward(record), record.candidate.number))
    places = np.array_split(np.arange(len(ordered)), min(count, len(ordered)))
    rng = generator(seed, "rank-check", count)
    return [ordered[int(rng.choice(stratum))] for stratum in places]


def shortened(recipe: Recipe, length: float) -> Recipe:
    """The recipe with a share of its epochs, at least one of each phase, and its schedule compressed alike."""
    phases = tuple(replace(phase, epochs=max(1, round(length * phase.epochs))) for phase in recipe.phases)
    milestones = tuple(max(1, round(length * epoch)) for epoch in recipe.milestones)
    epochs = sum(phase.epochs for phase in phases)
    horizon = max(epochs, round(length * recipe.horizon)) if recipe.horizon else 0
    return replace(recipe, phases=phases, milestones=milestones, horizon=horizon)


def begin(run: SearchRun, training: RunSettings, count: int, seeds: int) -> Plan:
    """The plan of the check in a run's folder: that of an earlier call, or a new one.

    Raises:
        FastnasError: the search has evaluated no network, or an earlier check had other settings.
    """
    folder = run.folder / FOLDER
    networks = [record for record in run.networks if record.stage1 is not None]
    if (folder / FILE).is_file():
        plan = Plan.load(folder)
        if plan != Plan(plan.numbers, seeds, training) or len(plan.numbers) != min(count, len(networks)):
            raise FastnasError(
                f"{folder} holds a check with other settings: give the same options again to continue it, or remove it"
            )
        return plan
    if not networks:
        raise FastnasError(f"the search in {run.folder} has taken no candidate through stage 1 yet")
    chosen = drawn(networks, count, run.settings.seed)
    plan = Plan(tuple(record.candidate.number for record in chosen), seeds, training)
    folder.mkdir(exist_ok=True)
    plan.save(folder)
    return plan


def train_all(run: SearchRun, plan: Plan, machine: Machine, console: Console) -> None:
    """Train every network of a plan with every seed; what is trained already is left as it is.

    A training that was interrupted continues from its last state. All networks are trained with the first seed before
    any is with the second, so that an early look sees all of them.

    Raises:
        FastnasError: a training fails for another reason than its loss, or the folder is in use.
    """
    folder = run.folder / FOLDER
    genotypes = {record.candidate.number: str(record.candidate.genotype) for record in run.networks}
    waiting = [(number, seed) for seed in range(plan.seeds) for number in plan.numbers]
    waiting = [
        (number, seed)
        for number, seed in waiting
        if not any(
            (folder / f"{training_name(number, seed)}{suffix}").exists() for suffix in (".safetensors", ".failed")
        )
    ]
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with (
        locked(folder, "checking ranks"),
        Progress(*columns, console=console, speed_estimate_period=3600) as bar,
    ):
        total = len(plan.numbers) * plan.seeds
        shown = bar.add_task("trainings", total=total, completed=total - len(waiting))
        for done, (number, seed) in enumerate(waiting, start=total - len(waiting)):
            name = training_name(number, seed)
            model = replace(plan.training.model, architecture=genotypes[number])
            settings = replace(plan.training, model=model, seed=seed)

            @contextmanager
            def observe(trainer: Trainer, done: int = done, name: str = name) -> Iterator[Observer]:
                yield _Bar(bar, shown, done, f"{done + 1} of {total}, {name}", trainer.recipe.epochs)

            try:
                score = _train(folder / CURRENT, settings, machine, observe)
            except NotFinite as error:
                with atomic_path(folder / f"{name}.failed") as path:
                    path.write_text(str(error))
                console.print(f"{name} failed: {error}", soft_wrap=True)
            else:
                (folder / CURRENT / FILE_NAME).replace(folder / f"{name}.safetensors")
                console.print(f"{name}: {score}")
            shutil.rmtree(folder / CURRENT)
            bar.update(shown, completed=done + 1)


class _Bar(Observer):
    """Moves the bar of all trainings by the batches of one."""

    def __init__(self, bar: Progress, task: TaskID, done: int, text: str, epochs: int) -> None:
        self.bar, self.task, self.done, self.text, self.epochs = bar, task, done, text, epochs

    def step(self, progress: RunProgress, steps: int, loss: float) -> None:
        """See `Observer`."""
        share = (progress.epoch + progress.step / steps) / self.epochs
        self.bar.update(
            self.task,
            completed=self.done + share,
            description=f"{self.text}, epoch {progress.epoch + 1} of {self.epochs}",
        )


def _train(folder: Path, settings: RunSettings, machine: Machine, observe: Observe) -> str:
    """Train one network, from the folder's state where that is of this training; its score as text."""
    resumed = (folder / STATE).is_file() and RunSettings.load(folder) == settings
    if not resumed and folder.exists():
        shutil.rmtree(folder)
    fabric = machine.fabric(settings.precision)
    trainer = run_training(fabric, folder, settings, machine, observe, lambda line: None, resumed=resumed)
    score = trainer.head.score(trainer.progress.rows[-1])
    if not (folder / FILE_NAME).is_file() or math.isnan(score.value):
        raise FastnasError(f"{settings.val} has no labels that {score.name} could be computed from")
    return f"{score.name} {score.value:.4f}"
