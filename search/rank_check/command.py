"""`fastnas rank-check`: whether a search's rewards rank networks as full training does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastnas.options import (
    ACCELERATOR,
    CHANNELS,
    FILE,
    LIMIT,
    PRECISION,
    SEP_REPEATS,
    VAL_LIMIT,
    WORKERS,
    set_option,
)

if TYPE_CHECKING:
    from fastnas.search.report.statistics import SearchRun
    from fastnas.train.settings import RunSettings


@click.command("rank-check", short_help="Check whether a search's rewards rank networks as full training does.")
@click.argument("folder", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--nets", type=click.IntRange(3), default=30, show_default=True, help="Networks, one of each stratum.")
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Trainings of each network.")
@click.option("--recipe", "recipe_name", help="Of the trainings; by default the dataset's own.")
@click.option(
    "--length",
    type=click.FloatRange(0, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of the recipe's epochs; its schedule is compressed alike.",
)
@set_option("fastnas.train.settings:Recipe", "a field of the recipe")
@click.option(
    "--encoder-weights",
    type=FILE,
    metavar="imagenet|FILE|MODEL|none",
    help="Of the trainings; by default the search's.",
)
@CHANNELS
@SEP_REPEATS
@LIMIT
@VAL_LIMIT
@PRECISION
@WORKERS
@ACCELERATOR
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def rank_check(
    folder: Path, nets: int, seeds: int, workers: int, accelerator: str, as_json: bool, **options: Any
) -> None:
    """Check whether a search's rewards rank networks as full training does.

    The networks that RUN took through stage 1 are sorted by reward and divided into strata of equal size. One of each
    is trained with every seed, in a short run of the recipe. Printed is Spearman's rho of reward and final score with
    its interval by bootstrap over the networks, also for the upper half, and rho of the scores of two seeds, which
    tells how noisy these are. The report of RUN shows them. The same command continues what was interrupted.

    \b
    fastnas rank-check runs/camvid
    fastnas rank-check runs/camvid --nets 12 --length 0.2
    """
    from fastnas.console import PlainConsole
    from fastnas.search.rank_check.trainings import begin, train_all
    from fastnas.search.report.page import write_report
    from fastnas.search.report.rank_check import read_check
    from fastnas.search.report.statistics import read_runs
    from fastnas.train.processes import Machine

    console = PlainConsole(stderr=as_json)
    (run,) = read_runs([folder])
    plan = begin(run, _training(run, options), nets, seeds)
    console.print(
        f"checking {len(plan.numbers)} networks of {folder}, {plan.seeds} trainings of "
        f"{plan.training.recipe.epochs} epochs each"
    )
    machine = Machine(
        workers=workers, accelerator=accelerator, devices=1, nodes=1, save_every=300, channels_last=True, compile=False
    )
    train_all(run, plan, machine, console)
    page, _ = write_report((folder,))
    check = read_check(folder)
    assert check is not None
    if as_json:
        click.echo(json.dumps({"page": str(page), **check.to_dict()}, allow_nan=False))
    for found in check.agreements:
        low, high = found.interval
        console.print(
            f"{found.values}, {found.among}: Spearman's rho {found.rho:.3f} ({low:.3f} to {high:.3f}, "
            f"{found.networks} networks)"
        )
    if not check.agreements:
        console.print("too few networks with scores that differ: no correlation is told")
    console.print(f"report: {page}", soft_wrap=True)


def _training(run: SearchRun, options: dict[str, Any]) -> RunSettings:
    """The settings of the trainings, for the run's best network."""
    from dataclasses import replace

    from fastnas.search.rank_check.trainings import shortened
    from fastnas.train.command import Request

    settings = run.settings
    request = Request(
        architecture=str(run.networks[0].candidate.genotype) if run.networks else "arch0",
        data=settings.data,
        roots=(settings.root,) if settings.root else (),
        task=settings.task,
        recipe_name=options["recipe_name"],
        assignments=options["assignments"],
        epochs=None,
        encoder=settings.evaluation.encoder,
        channels=options["channels"],
        sep_repeats=options["sep_repeats"],
        aux=None,
        val=None,
    )
    training = request.settings(
        encoder_weights=options["encoder_weights"] or _encoder_weights(run),
        limit=options["limit"],
        val_limit=options["val_limit"],
        precision=options["precision"],
    )
    recipe = shortened(training.recipe, options["length"])
    return replace(training, recipe=recipe, eval_every=recipe.epochs)


def _encoder_weights(run: SearchRun) -> str:
    """The encoder's weights of the search, as a training takes them."""
    weights = run.settings.evaluation.encoder_weights
    if weights != "scenes":
        return weights
    from fastnas.jetson.files import cache_root
    from fastnas.search.evaluation.data import open_images
    from fastnas.search.evaluation.warmup import warm_up_file

    return str(warm_up_file(run.settings, open_images(run.settings), cache_root(), lambda *_: None).absolute())
