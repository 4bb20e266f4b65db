"""`fastnas train`: a genotype, name or baseline becomes a trained model file."""

from __future__ import annotations

import json
import math
import shlex
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastnas.errors import FastnasError
from fastnas.options import CHANNELS, ENCODER, SEP_REPEATS, accelerator, keep_settings, lasting, lasting_file

if TYPE_CHECKING:
    from fastnas.train.settings import RunSettings

MACHINE = ("resume", "workers", "accelerator", "devices", "nodes", "save_every", "channels_last", "compile", "as_json")
"""Parameters that say nothing about the result, so that a resumed run may have others."""


def _devices(_: click.Context, __: click.Parameter, text: str) -> str:
    if text != "auto" and not (text.isdecimal() and int(text) >= 1):
        raise click.BadParameter(f"{text!r} is neither a number of processes from 1 nor auto")
    return text


@click.command(short_help="Train a network fully.")
@click.argument("architecture", required=False)
@click.option("--data", default="synthetic", show_default=True, help="Dataset: see fastnas data --help.")
@click.option("--root", "roots", multiple=True, metavar="[NAME=]DIR", help="Folder of the dataset, or of each by name.")
@click.option("--task", type=click.Choice(["segmentation", "pose", "depth"]), help="Where the dataset has several.")
@click.option("--recipe", "recipe_name", help="By default the dataset's own: see docs/training.md.")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe.")
@click.option("--epochs", type=click.IntRange(1), help="Length of a recipe of one phase.")
@ENCODER
@click.option(
    "--encoder-weights", default="imagenet", show_default=True, help="imagenet (download), a file, or none (random)."
)
@CHANNELS
@SEP_REPEATS
@click.option(
    "--aux",
    type=click.Choice(["none", "clf", "cell"]),
    help="Auxiliary heads, in training only; by default cell, and none for a baseline.",
)
@click.option("--teacher", default="", help="Distil from MODEL.safetensors, MODEL.onnx or torchvision/NAME.")
@click.option("--val", help="Evaluate another dataset or split, as NAME:SPLIT.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=0,
    help="Train on so many samples of each dataset, evenly spread; 0 for all.",
)
@click.option("--val-limit", type=click.IntRange(0), default=0, help="Evaluate so many samples; 0 for all.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder; by default runs/NAME-DATA.")
@click.option(
    "--resume",
    type=click.Path(file_okay=False, path_type=Path),
    help="Continue the run in this folder as it was begun; nothing else is needed.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights, data order and transforms.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Loader processes.")
@accelerator("--accelerator")
@click.option(
    "--devices",
    default="1",
    show_default=True,
    callback=_devices,
    help="Processes on this machine: a number, or auto.",
)
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines (start it on each).")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Mixed precision, where not fp32.",
)
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Parts of a batch.")
@click.option("--eval-every", type=click.IntRange(1), default=1, show_default=True, help="Epochs between evaluations.")
@click.option(
    "--save-every", type=click.FloatRange(0), default=300, show_default=True, help="Seconds between saves of the state."
)
@click.option("--channels-last/--channels-first", default=True, show_default=True, help="Memory layout.")
@click.option("--compile", is_flag=True, help="Let torch.compile make the code: slow to start, faster to run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(architecture: str | None, resume: Path | None, out: Path | None, **options: object) -> None:
    """Train a network fully.

    ARCHITECTURE is arch0, arch1, arch2, camvid0, camvid1, a genotype, or a baseline such as rflw-mbv2. The run folder
    holds the best model (model.safetensors), the state that --resume continues, a CSV of every epoch, curves, pictures
    of predictions and TensorBoard's events.

    \b
    fastnas train arch0                                             generated scenes, about ten minutes on two cores
    fastnas train arch0 --data camvid --root CamVid
    fastnas train arch2 --data voc --root voc=VOCdevkit --root coco=COCO --devices 4 --precision bf16
    fastnas train --resume runs/arch0-camvid
    """
    from fastnas.train.loop import STATE
    from fastnas.train.settings import RunSettings

    if resume is not None:
        keep_settings(MACHINE)
        folder, settings = resume, RunSettings.load(resume)
    else:
        if architecture is None:
            raise click.UsageError("Missing argument 'ARCHITECTURE', such as arch0")
        settings = _settings(architecture, **options)  # type: ignore[arg-type]
        folder = out or Path("runs") / f"{settings.model.name}-{options['data']}"
        if (folder / STATE).exists():
            raise FastnasError(
                f"{folder} already holds a run: continue it with --resume {folder}, or give another --out"
            )
    _run(folder, settings, resume is not None, **options)  # type: ignore[arg-type]


def _run(
    folder: Path,
    settings: RunSettings,
    resumed: bool,
    *,
    workers: int,
    accelerator: str,
    devices: str,
    nodes: int,
    save_every: float,
    channels_last: bool,
    compile: bool,
    as_json: bool,
    **_: object,
) -> None:
    """Train in `folder` to the end."""
    import torch
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy
    from rich.console import Console

    from fastnas.files import locked
    from fastnas.models.checkpoint import FILE_NAME
    from fastnas.models.spec import build
    from fastnas.train.evaluate import for_json
    from fastnas.train.loop import Options, Trainer
    from fastnas.train.processes import in_first_process
    from fastnas.train.run_log import RunLog
    from fastnas.train.teacher import load_teacher

    recipe, precisions = settings.recipe, {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
    fabric = Fabric(
        accelerator=accelerator,
        devices=int(devices) if devices.isdigit() else devices,
        num_nodes=nodes,
        # A genotype need not draw every encoder output, so some weights get no gradient.
        strategy="auto" if devices == "1" and nodes == 1 else DDPStrategy(find_unused_parameters=True),
        precision=precisions[settings.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    fabric.seed_everything(settings.seed, verbose=False)
    console = Console(highlight=False, stderr=as_json, quiet=not fabric.is_global_zero)
    with ExitStack() as held:
        if torch.distributed.is_initialized():
            # Fabric leaves gloo's connections to the end of the process, where their threads now and then abort it.
            held.callback(torch.distributed.destroy_process_group)
        in_first_process(fabric, lambda: held.enter_context(locked(folder, "training")))
        network = build(settings.model, "none" if resumed else settings.encoder_weights)
        val = settings.open_val()
        teacher = None
        if settings.teacher:
            teacher = load_teacher(settings.teacher, settings.model.task, fabric.device, recipe.crop)
        trainer = Trainer(
            fabric, settings.model, network, recipe, settings.open_train, val, folder,
            options=Options(
                seed=settings.seed, workers=workers, accumulate=settings.accumulate, channels_last=channels_last,
                compile=compile, eval_every=settings.eval_every, save_every=save_every,
            ),
            teacher=teacher,
        )  # fmt: skip
        if resumed:
            trainer.restore()
        else:
            in_first_process(fabric, lambda: settings.save(folder))
        console.print(f"training into {folder}: recipe {recipe.name}, {recipe.epochs} epochs, on {fabric.device}")
        if fabric.is_global_zero:
            log = RunLog(folder, console, trainer.head, val, recipe.val_size, recipe.epochs, trainer.progress)
            trainer.observer = log
            with log:
                trainer.run()
        else:
            trainer.run()
    best, score = trainer.progress.best, trainer.head.score(trainer.progress.rows[-1]).name
    model = folder / FILE_NAME
    if best is None or math.isnan(best):
        raise FastnasError(f"trained {model}, but {settings.val} shows nothing that {score} could be measured on")
    if as_json and fabric.is_global_zero:
        rows = [for_json(row) for row in trainer.progress.rows]
        click.echo(json.dumps({"model": str(model), "score": score, "best": best, "epochs": rows}))
    console.print(f"best {score} {best:.4f}: {model}")
    root = settings.roots.get(settings.val.partition(":")[0])
    words = ["fastnas", "eval", str(model), "--data", settings.val, *(("--root", root) if root else ())]
    console.print(f"next: {shlex.join(words)}", soft_wrap=True)


def _settings(
    architecture: str,
    *,
    data: str,
    roots: tuple[str, ...],
    task: str | None,
    recipe_name: str | None,
    assignments: tuple[str, ...],
    epochs: int | None,
    encoder: str,
    encoder_weights: str,
    channels: int,
    sep_repeats: int,
    aux: str | None,
    teacher: str,
    val: str | None,
    limit: int,
    val_limit: int,
    seed: int,
    precision: str,
    accumulate: int,
    eval_every: int,
    **_others: object,
) -> RunSettings:
    """The run that the options describe."""
    from fastnas.config import override
    from fastnas.data import open_dataset
    from fastnas.models.baselines import BASELINES
    from fastnas.models.spec import ModelSpec
    from fastnas.train.recipes import RECIPES, USUAL
    from fastnas.train.settings import RunSettings

    dataset = data.partition(":")[0]
    by_name: dict[str, str] = dict(_root(root, dataset) for root in roots)
    val = val or dataset
    judge, _, split = val.partition(":")
    goal = open_dataset(judge, by_name.get(judge), split or "val", task).task
    recipe_name = recipe_name or USUAL.get((dataset, goal.kind))
    if recipe_name not in RECIPES:
        wrong = f"no recipe {recipe_name!r}" if recipe_name else f"{dataset} has no recipe of its own for {goal.kind}"
        raise FastnasError(f"{wrong}; there are {', '.join(RECIPES)}")
    recipe = override(RECIPES[recipe_name], assignments)
    if recipe.task != goal.kind:
        raise FastnasError(f"recipe {recipe_name} is for {recipe.task}, but {data} is opened for {goal.kind}")
    if epochs is not None:
        if len(recipe.phases) > 1:
            raise FastnasError(
                f"recipe {recipe_name} has {len(recipe.phases)} phases: use --set phases.0.epochs=N and so on"
            )
        recipe = override(recipe, (f"phases.0.epochs={epochs}",))
    own = recipe.phases[0].data[0]
    if len(recipe.phases) == 1 and data not in (own, own.partition(":")[0]):
        recipe = replace(recipe, phases=(replace(recipe.phases[0], data=(data,)),))
    heads = aux or ("none" if architecture in BASELINES else "cell")
    spec = ModelSpec(architecture, goal, encoder, channels, sep_repeats, heads)  # type: ignore[arg-type]
    return RunSettings(
        spec, recipe, by_name, val, lasting_file(encoder_weights), lasting_file(teacher), seed, limit,
        val_limit, precision, accumulate, eval_every,  # type: ignore[arg-type]
    )  # fmt: skip


def _root(text: str, data: str) -> tuple[str, str]:
    """`NAME=DIR` or `DIR` as the dataset's name and its folder."""
    from fastnas.data import NAMES

    name, equals, folder = text.partition("=")
    name, folder = (name, folder) if equals and name in NAMES else (data, text)
    return name, lasting(folder)
