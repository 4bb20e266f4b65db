"""`fastnas train`: a genotype, name or baseline becomes a trained model file."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastnas.errors import FastnasError
from fastnas.jetson.options import Parsed
from fastnas.options import (
    ACCELERATOR,
    CHANNELS,
    DATA,
    DATA_TASK,
    FILE,
    FILES,
    LIMIT,
    NETWORK,
    PRECISION,
    SEP_REPEATS,
    VAL_LIMIT,
    WORKERS,
    absolute,
    keep_settings,
    set_option,
)
from fastnas.shelf import SUFFIX

if TYPE_CHECKING:
    from fastnas.data import DataName
    from fastnas.models.decoder import Auxiliary
    from fastnas.models.spec import Definition
    from fastnas.train.processes import Machine
    from fastnas.train.settings import Recipe, RunSettings


@dataclass(frozen=True)
class Request:
    """The options that describe network, recipe and data, by the names of their parameters."""

    architecture: str
    data: str
    roots: tuple[str, ...]
    task: str | None
    recipe_name: str | None
    assignments: tuple[str, ...]
    epochs: int | None
    encoder: str | None
    channels: int
    sep_repeats: int
    aux: Auxiliary | None
    val: str | None
    definition: Definition = "fastnas"

    @property
    def names(self) -> list[DataName]:
        """The names of the datasets."""
        from fastnas.data import DataName

        return [DataName.parse(text) for text in self.data.split(",")]

    def settings(self, **others: Any) -> RunSettings:
        """The settings of the run.

        Args:
            others: settings of the run that are options of the same name.

        Raises:
            FastnasError: the dataset cannot be opened; or the recipe is unknown, for another task, or refuses a value.
        """
        from fastnas.data import DataName
        from fastnas.models.baselines.registry import BASELINES
        from fastnas.models.spec import ModelSpec
        from fastnas.tasks import join_tasks
        from fastnas.train.recipes import ENCODER
        from fastnas.train.settings import RunSettings

        roots = dict(self._root(text) for text in self.roots)
        val = self.val or self._first_of_each_task(roots)
        task = join_tasks(DataName.parse(text).open(roots, "val", self.task).task for text in val.split(","))
        recipe = self._recipe(task.kind)
        baseline = self.architecture in BASELINES  # it has its own encoder, and no auxiliary heads
        usual = ModelSpec.encoder if baseline else ENCODER.get(recipe.name, ModelSpec.encoder)
        aux = self.aux or ("none" if baseline else "cell")
        shape = (self.encoder or usual, self.channels, self.sep_repeats, aux, self.definition)
        return RunSettings(ModelSpec(self.architecture, task, *shape), recipe, roots, val, **others)

    def _first_of_each_task(self, roots: dict[str, str]) -> str:
        """The first dataset of each task, without its split: what is evaluated by default."""
        found: dict[str, str] = {}
        for name in self.names:
            kind = name.open(roots, "train", self.task).task.kind if len(self.names) > 1 else ""
            found.setdefault(kind, name.without_split)
        return ",".join(found.values())

    def _root(self, text: str) -> tuple[str, str]:
        """`NAME[@LABEL]=DIR` or `DIR` as the dataset's name and its folder."""
        from fastnas.data import NAMES

        key, equals, folder = text.partition("=")
        named = equals and key.partition("@")[0] in NAMES
        return (key, absolute(folder)) if named else (self.names[0].key, absolute(text))

    def _recipe(self, kind: str) -> Recipe:
        """The recipe for a kind of task, with its changes."""
        from fastnas.config import override
        from fastnas.train.recipes import RECIPES, USUAL

        name = self.recipe_name or USUAL.get((self.names[0].name, kind), "trio" if kind == "multi" else None)
        if name not in RECIPES:
            wrong = f"no recipe {name!r}" if name else f"{self.names[0].name} has no recipe of its own for {kind}"
            raise FastnasError(f"{wrong}; there are {', '.join(RECIPES)}")
        several = len(RECIPES[name].phases) > 1
        if self.epochs is not None and several:
            raise FastnasError(
                f"recipe {name} has {len(RECIPES[name].phases)} phases: use --set phases.0.epochs=N and so on"
            )
        length = () if self.epochs is None else (f"phases.0.epochs={self.epochs}",)
        recipe = override(RECIPES[name], (*self.assignments, *length))
        if recipe.task != kind:
            raise FastnasError(f"recipe {name} is for {recipe.task}, but {self.data} is opened for {kind}")
        return recipe.on(tuple(self.data.split(",")))


def _taken(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """The options that are fields of a dataclass, removed from all."""
    return {entry.name: options.pop(entry.name) for entry in fields(kind) if entry.name in options}


def _devices(text: str) -> int | str:
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    if text != "auto":
        raise ValueError(f"{text!r} is neither a number of processes from 1 nor auto")
    return text


@click.command(short_help="Train a network fully.")
@click.argument("architecture", metavar="[ARCHITECTURE]", required=False, type=NETWORK)
@DATA
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="[NAME[@LABEL]=]DIR",
    help="Folder of the dataset, or of each by name; a label tells several of one name apart.",
)
@DATA_TASK
@click.option("--recipe", "recipe_name", help="By default the dataset's own: see docs/training.md.")
@set_option("fastnas.train.settings:Recipe", "a field of the recipe")
@click.option("--epochs", type=click.IntRange(1), help="Length of a recipe of one phase.")
@click.option(
    "--encoder",
    help="Backbone, or timm/NAME; NAME-os16 has an output stride of 16; by default mobilenet_v2, for the recipe "
    "cityscapes resnet50.",
)
@click.option(
    "--encoder-weights",
    type=FILE,
    metavar="imagenet|FILE|MODEL|none",
    default="imagenet",
    show_default=True,
    help="imagenet (download), a file, the encoder of a trained model (by name or file), or none (random).",
)
@CHANNELS
@SEP_REPEATS
@click.option(
    "--aux",
    type=click.Choice(["none", "clf", "cell"]),
    help="Auxiliary heads, in training only; by default cell, and none for a baseline.",
)
@click.option(
    "--teacher",
    type=FILES,
    metavar="MODEL,...",
    default="",
    help="Knowledge distillation from MODEL.safetensors, MODEL.onnx or torchvision/NAME; several for several tasks.",
)
@click.option(
    "--init",
    type=FILE,
    metavar="NAME|MODEL",
    default="",
    help="Fine-tune a trained model: begin with its weights, and with its network unless another is given.",
)
@click.option("--val", metavar="NAME[:SPLIT],...", help="Evaluate on other datasets or splits.")
@LIMIT
@VAL_LIMIT
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder; by default runs/NAME-DATA.")
@click.option(
    "--resume",
    type=click.Path(file_okay=False, path_type=Path),
    help="Continue the run in this folder with its own settings.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the weights, the order of the data, and the transforms.",
)
@WORKERS
@ACCELERATOR
@click.option(
    "--devices",
    type=Parsed("N|auto", _devices),
    default="1",
    show_default=True,
    help="Processes on this machine, one a GPU: a number, or auto.",
)
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines (start it on each).")
@PRECISION
@click.option(
    "--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Gradient accumulation steps per batch."
)
@click.option("--eval-every", type=click.IntRange(1), default=1, show_default=True, help="Epochs between evaluations.")
@click.option(
    "--save-every",
    type=click.FloatRange(0),
    default=300,
    show_default=True,
    help="Seconds between checkpoints within an epoch.",
)
@click.option("--channels-last/--channels-first", default=True, show_default=True, help="Memory layout.")
@click.option("--compile", is_flag=True, help="Compile the network with torch.compile: slow to start, faster to run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(architecture: str | None, resume: Path | None, out: Path | None, as_json: bool, **options: Any) -> None:
    """Train a network fully.

    ARCHITECTURE is arch0 to arch2, camvid0 to camvid4, a genotype, best@RUN of the search in the folder RUN, or a
    baseline such as rflw-mbv2. The run folder holds the best model (model.safetensors), the checkpoint that --resume
    continues, a CSV of every epoch, curves, images with predictions, and TensorBoard's events.

    \b
    fastnas train arch0                                             generated scenes, about ten minutes on two cores
    fastnas train arch0 --data camvid --root CamVid
    fastnas train arch2 --data voc --root voc=VOCdevkit --root coco=COCO --devices 4 --precision bf16
    fastnas train arch2 --data camvid,folder@idd --root CamVid --root folder@idd=IDD
    fastnas train --init street --data folder --root MINE
    fastnas train --resume runs/arch0-camvid
    """
    from fastnas.train.initialise import completed
    from fastnas.train.loop import STATE
    from fastnas.train.processes import Machine
    from fastnas.train.settings import RunSettings

    machine = Machine(**_taken(Machine, options))
    if resume is not None:
        keep_settings((*vars(machine), "resume", "as_json"))
        folder, settings = resume, RunSettings.load(resume)
    else:
        if options["init"]:
            architecture, options = completed(architecture, options)
        if architecture is not None and architecture.endswith(SUFFIX):
            raise click.UsageError(f"{architecture} is a model file: fine-tune it with --init {architecture}")
        if architecture is None:
            raise click.UsageError("Missing argument 'ARCHITECTURE', such as arch0")
        request = Request(architecture, **_taken(Request, options))
        settings = request.settings(**options)
        folder = out or Path("runs") / f"{settings.model.name}-{request.names[0].key}"
        if (folder / STATE).exists():
            raise FastnasError(
                f"{folder} already holds a run: continue it with --resume {folder}, or give another --out"
            )
    _run(folder, settings, machine, resumed=resume is not None, as_json=as_json)


def _run(folder: Path, settings: RunSettings, machine: Machine, *, resumed: bool, as_json: bool) -> None:
    """Train in `folder` to the end."""
    from fastnas.console import PlainConsole
    from fastnas.data import DataName
    from fastnas.models.checkpoint import FILE_NAME
    from fastnas.train.evaluate import for_json
    from fastnas.train.run import run_training
    from fastnas.train.run_log import RunLog

    fabric = machine.fabric(settings.precision)
    console = PlainConsole(stderr=as_json, quiet=not fabric.is_global_zero)
    trainer = run_training(
        fabric, folder, settings, machine, lambda trainer: RunLog(folder, console, trainer), console.print,
        resumed=resumed,
    )  # fmt: skip
    best, score = trainer.progress.best, trainer.head.score(trainer.progress.rows[-1]).name
    model = folder / FILE_NAME
    if best is None or math.isnan(best):
        raise FastnasError(f"trained {model}, but {settings.val} has no labels that {score} could be computed from")
    if as_json and fabric.is_global_zero:
        rows = [for_json(row) for row in trainer.progress.rows]
        click.echo(json.dumps({"model": str(model), "score": score, "best": best, "epochs": rows}))
    console.print(f"best {score} {best:.4f}: {model}")
    for name in settings.val.split(","):
        root = settings.roots.get(DataName.parse(name).key)
        words = ["fastnas", "eval", str(model), "--data", name, *(("--root", root) if root else ())]
        console.print(f"next: {shlex.join(words)}", soft_wrap=True)
