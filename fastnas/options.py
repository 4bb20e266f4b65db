"""Options that several commands share."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import click

from fastnas import shelf
from fastnas.jetson.files import expand_user
from fastnas.jetson.options import Parsed
from fastnas.tasks import TASKS, Multi

Command = TypeVar("Command", bound=Callable[..., Any])


def parse_network(text: str) -> str:
    """A network's text for `open_model`: a name of the shelf as its model file, and `best@RUN` as a genotype.

    RUN is the folder of a search, the genotype that of its best candidate so far; `best@RUN:12ms`, `:2.5M` or `:3G` is
    the best of those within that latency, that many parameters or multiply-adds. Any other text stays as it is.

    Raises:
        FastnasError: RUN is no run folder, no such candidate was evaluated yet, or a model of the shelf is damaged.
    """
    if not text.startswith("best@"):
        return shelf.resolve(text)
    # By name, for the core imports no other package: only a command given a run needs the reader of its history.
    best = importlib.import_module("fastnas.search.best")
    return str(best.read_best(text.removeprefix("best@")).candidate.genotype)


NETWORK = Parsed("NETWORK", parse_network)
MODEL = Parsed("MODEL", lambda text: Path(shelf.resolve(text)))
"""The model file of a name of the shelf; any other path as it is."""


def _present(_: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a GPU that is not there before anything is begun."""
    if value == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise click.BadParameter("PyTorch finds no CUDA GPU on this machine (fastnas doctor says why)", param=param)
    return value


ACCELERATOR = click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    callback=_present,
    help="Where tensors are computed; auto takes a CUDA GPU where there is one.",
)


def set_option(group: str, what: str) -> Callable[[Command], Command]:
    """The option `--set NAME=VALUE`, which may be given several times; `--set help` lists the names and exits.

    Args:
        group: of the settings that it changes, as `module:class`; imported when the list is asked for.
        what: the settings, for the help.
    """

    def listed(context: click.Context, param: click.Parameter, assignments: tuple[str, ...]) -> tuple[str, ...]:
        if "help" in assignments:
            from fastnas.config import describe

            module, name = group.split(":")
            click.echo("\n".join(describe(getattr(importlib.import_module(module), name))))
            context.exit()
        return assignments

    return click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        callback=listed,
        help=f"Change {what}; --set help lists names, types and defaults.",
    )


def keep_settings(changeable: Collection[str]) -> None:
    """Refuse options of the running command that a resumed run cannot change.

    Args:
        changeable: names of the parameters that may be given beside `--resume`.
    """
    context = click.get_current_context()
    for param in context.command.params:
        given = context.get_parameter_source(str(param.name)) is click.core.ParameterSource.COMMANDLINE
        if given and param.name not in changeable:
            raise click.UsageError(f"--resume continues a run as it was begun: leave out {param.opts[0]}")


def absolute(path: str) -> str:
    """A file or folder as settings keep it, so that a run can be resumed from any working directory."""
    return str(expand_user(path).absolute())


def absolute_file(source: str) -> str:
    """A file likewise; anything else, such as `imagenet` or `torchvision/NAME`, as it is."""
    return absolute(source) if expand_user(source).is_file() else source


def absolute_files(sources: str) -> str:
    """Several of them, with commas between."""
    return ",".join(map(absolute_file, sources.split(",")))


DIR, FILE, FILES = Parsed("DIR", absolute), Parsed("FILE", absolute_file), Parsed("FILE,...", absolute_files)
DATA = click.option("--data", default="synthetic", show_default=True, help="Dataset, NAME or NAME:SPLIT.")
DATA_TASK = click.option(
    "--task", type=click.Choice(list(TASKS)), help="Where the dataset has labels for several tasks."
)
ENCODER = click.option(
    "--encoder",
    default="mobilenet_v2",
    show_default=True,
    help="Backbone, or timm/NAME; NAME-os16 has an output stride of 16.",
)
CHANNELS = click.option(
    "--channels", type=click.IntRange(1), default=64, show_default=True, help="Channels C of the decoder."
)
LIMIT = click.option(
    "--limit", type=click.IntRange(0), default=0, help="Samples of each training dataset, evenly spread; 0 for all."
)
VAL_LIMIT = click.option(
    "--val-limit", type=click.IntRange(0), default=0, help="Samples to evaluate, evenly spread; 0 for all."
)
PRECISION = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="bf16 and fp16 are mixed precision, faster where the hardware computes in it.",
)
WORKERS = click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Data loader processes.")
SEP_REPEATS = click.option(
    "--sep-repeats", type=click.IntRange(1), default=2, show_default=True, help="Repeats R of separable operations."
)
DEFAULT_TASK = click.option(
    "--task",
    type=click.Choice([*TASKS, Multi.kind]),
    default="segmentation",
    show_default=True,
    help="Task of a network that is not a model file: 21 VOC classes, 16 MPII joints, depth, or multi, all three.",
)
