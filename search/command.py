"""`fastnas search`: find an architecture."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from fastnas.errors import FastnasError
from fastnas.options import accelerator, keep_settings, lasting, lasting_file

if TYPE_CHECKING:
    import torch

    from fastnas.search.driver import Workers
    from fastnas.search.settings import SearchSettings

SYNTHETIC_HOURS = 8 / 60
OTHER_CANDIDATES = 500
CHANGEABLE = (
    "resume", "candidates", "hours", "address", "ray_cpus", "ray_gpus", "device", "workers", "cache", "as_json",
)  # fmt: skip
"""Parameters that a resumed search may have others of: its budget, and the machine it goes on with."""


class Duration(click.ParamType[float]):
    """A time such as `90s`, `10m`, `2h` or `1.5d`, as hours."""

    name = "time"
    _UNITS: ClassVar = {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text -> hours."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if not match or not float(match[1]):
            self.fail(f"{value!r} is not a time such as 90s, 10m, 2h or 1d", param, ctx)
        return float(match[1]) * self._UNITS[match[2]]


@click.command(short_help="Find an architecture.")
@click.option("--data", default="synthetic", show_default=True, help="Dataset: see fastnas data --help.")
@click.option("--root", type=click.Path(), help="Folder of the dataset.")
@click.option("--task", type=click.Choice(["segmentation", "pose", "depth"]), help="Where the dataset has several.")
@click.option("--strategy", type=click.Choice(["ppo", "reinforce", "random"]), help="How candidates are proposed: ppo.")
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice(["paper", "small", "tiny"]),
    help="Sizes of crops, batches and networks; by default paper, and tiny for synthetic.",
)
@click.option(
    "--candidates", type=click.IntRange(1), help=f"Stop after so many; {OTHER_CANDIDATES} if no budget is set."
)
@click.option("--time", "hours", type=Duration(), help="Stop after this time, such as 10m or 4d; 8m for synthetic.")
@click.option("--encoder", help="Backbone; timm/NAME takes one of timm's; by default mobilenet_v2.")
@click.option(
    "--encoder-weights",
    help="imagenet (download), a file, scenes (a minute of training on the generated scenes), or none (random). "
    "By default imagenet, and scenes for synthetic.",
)
@click.option("--teacher", help="Distil in stage 1 from MODEL.safetensors, MODEL.onnx or torchvision/NAME.")
@click.option("--stop-rule", type=click.Choice(["paper", "public", "never"]), help="Which candidates end early: paper.")
@click.option("--no-polyak", is_flag=True, help="Judge the last weights, not their running average.")
@click.option("--no-aux", is_flag=True, help="Train without auxiliary cells.")
@click.option("--no-distillation", is_flag=True, help="Do not use the teacher.")
@click.option("--max-parameters", type=click.FloatRange(0), help="Refuse architectures of more, in millions.")
@click.option("--max-madds", type=click.FloatRange(0), help="Refuse architectures of more multiply-adds, in G.")
@click.option("--max-latency", type=click.FloatRange(0), help="Refuse slower ones (ONNX Runtime, this machine), in ms.")
@click.option("--latency-host", metavar="USER@JETSON[:PORT]", help="Measure latency there instead, over SSH, in fp16.")
@click.option("--target-latency", type=click.FloatRange(0.001), help="Trade accuracy for latency around it, in ms.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="Of what is trained; by default bf16 where this machine computes natively in it.",
)
@click.option("--res", type=click.IntRange(32), help="Side of the image that costs are for, in pixels: 512.")
@click.option("--seed", type=click.IntRange(0), help="Of everything random: 0.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Change any setting of settings.json.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder; by default runs/search.")
@click.option(
    "--resume",
    type=click.Path(file_okay=False, path_type=Path),
    help="Continue the run in this folder with its own settings; --candidates or --time give it a new budget.",
)
@click.option(
    "--ray",
    "address",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Evaluate on a Ray cluster: on all of this machine, or with ADDRESS (HOST:PORT or auto) a running one.",
)
@click.option("--ray-cpus", type=click.FloatRange(0.1), default=1.0, show_default=True, help="CPUs per evaluation.")
@click.option(
    "--ray-gpus",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="GPUs per evaluation; 0.5 puts two on one.",
)
@accelerator("--device")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Loader processes of stage 2.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder of stored encoder outputs; by default $FASTNAS_CACHE, or ~/.cache/fastnas.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every event as a line of JSON.")
def search(
    resume: Path | None,
    out: Path | None,
    address: str | None,
    ray_cpus: float,
    ray_gpus: float,
    device: str,
    workers: int,
    cache: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find an architecture.

    Candidates are trained just enough to judge them: the decoder alone on stored encoder outputs, then, for those that
    do well, everything for an epoch. A controller learns from the rewards what to propose next. The run folder can be
    killed at any moment and continued.

    \b
    fastnas search                                     generated scenes, about ten minutes on a laptop
    fastnas search --data voc --root VOCdevkit --time 4d
    fastnas search --data camvid --root CamVid --preset small --candidates 300 --out runs/camvid
    fastnas search --data camvid --root CamVid --strategy random --out runs/random
    fastnas search --data camvid --root CamVid --ray head:6379 --ray-gpus 1
    fastnas search --resume runs/camvid
    """
    import torch
    from rich.console import Console

    from fastnas.jetson.files import cache_root
    from fastnas.search.costs import costs
    from fastnas.search.driver import Here, Search
    from fastnas.search.evaluation.prepare import prepare
    from fastnas.search.history import Run
    from fastnas.search.progress import JsonLines, TensorBoard, Terminal, Views, best_record
    from fastnas.search.report.page import training_command, write_report

    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if resume is not None:
        keep_settings(CHANGEABLE)
        run = Run.resume(resume)
        if options["candidates"] is not None or options["hours"] is not None:
            run.extend(options["candidates"], options["hours"])
    else:
        run = Run.start(out or Path("runs/search"), _settings(options, chosen))
    settings, folder = run.settings, cache or cache_root()
    console = Console(highlight=False, stderr=as_json)
    with ExitStack() as stack:
        stack.enter_context(run)
        console.print(_headline(run), soft_wrap=True)
        terminal = stack.enter_context(Terminal(console))
        board = stack.enter_context(TensorBoard(run.folder, run.records))
        views = Views(*([JsonLines()] if as_json else []), terminal, board)
        evaluator = prepare(settings, cache=folder, device=chosen, workers=workers, notify=views.preparing)

        def count(genotype: Any) -> dict[str, float]:
            return costs(genotype, evaluator.images.task, settings.evaluation.encoder, settings.limits, folder)

        if address is None:
            where: Workers = Here(evaluator, views)
        else:
            from fastnas.search.ray_workers import Cluster

            where = stack.enter_context(Cluster(evaluator, views, address, cpus=ray_cpus, gpus=ray_gpus))
        driver = Search(run, where, views, count)
        terminal.search = driver
        driver.go_on()
    best = best_record(run.records)
    if best is None:
        raise FastnasError(f"no candidate of {run.folder} could be judged; its history.jsonl gives the reasons")
    if as_json:
        click.echo(json.dumps({"event": "end", "run": str(run.folder), "best": json.loads(best.to_json())}))
    console.print(
        f"{len(run.records)} candidates in {run.folder}; best reward {best.reward:.3f}, candidate "
        f"{best.proposal.number}:\n{best.genotype}",
        soft_wrap=True,
    )
    page, _ = write_report((run.folder,))
    console.print(f"report: {page}", soft_wrap=True)
    console.print(f"next: {training_command(run.folder, settings)}", soft_wrap=True)


def _headline(run: Any) -> str:
    """What begins, and what everyone should know of its encoder."""
    settings = run.settings
    how, lines = settings.evaluation, []
    budget = [f"{settings.candidates} candidates"] if settings.candidates else []
    budget += [f"{60 * settings.hours:.0f} minutes"] if settings.hours is not None else []
    done = f", {len(run.records)} candidates done" if run.records else ""
    lines.append(
        f"search ({settings.policy.strategy}) on {settings.data} into {run.folder}: {' or '.join(budget)}{done}"
    )
    if how.encoder_weights == "none":
        lines.append(
            "WARNING: the encoder starts at random and stays frozen in stage 1, so rewards say little of what a "
            "trained one would give. Use --encoder-weights imagenet, or a file."
        )
    if how.encoder_weights == "scenes":
        lines.append(
            f"encoder: {how.encoder}, trained for a minute on generated scenes: enough to try a search out without a "
            "download. For results that mean something use --encoder-weights imagenet."
        )
    if how.distillation and not how.teacher:
        lines.append("no --teacher is given: stage 1 goes without distillation")
    return "\n".join(lines)


def _settings(options: dict[str, Any], device: torch.device) -> SearchSettings:
    """The settings that the options describe, for training on a device."""
    from fastnas.config import changed, override
    from fastnas.search.presets import preset

    synthetic = options["data"] == "synthetic"
    weights = options["encoder_weights"] or ("scenes" if synthetic else "imagenet")
    given = {
        "data": options["data"], "root": options["root"] and lasting(options["root"]), "task": options["task"],
        "seed": options["seed"],
        "candidates": options["candidates"], "hours": options["hours"],
        "policy.strategy": options["strategy"], "stop.rule": options["stop_rule"],
        "evaluation.encoder": options["encoder"],
        "evaluation.precision": options["precision"] or _native_precision(device),
        "evaluation.encoder_weights": lasting_file(weights),
        "evaluation.teacher": options["teacher"] and lasting_file(options["teacher"]),
        "evaluation.polyak": False if options["no_polyak"] else None,
        "evaluation.auxiliary": False if options["no_aux"] else None,
        "evaluation.distillation": False if options["no_distillation"] else None,
        "limits.parameters": options["max_parameters"], "limits.madds": options["max_madds"],
        "limits.latency": options["max_latency"], "limits.target_latency": options["target_latency"],
        "limits.latency_host": options["latency_host"], "limits.resolution": options["res"],
    }  # fmt: skip
    if options["candidates"] is None and options["hours"] is None:
        given |= {"hours": SYNTHETIC_HOURS} if synthetic else {"candidates": OTHER_CANDIDATES}
    settings = preset(options["preset_name"] or ("tiny" if synthetic else "paper"))
    settings = changed(settings, {name: value for name, value in given.items() if value is not None})
    return override(settings, options["assignments"])


def _native_precision(device: torch.device) -> str:
    """`bf16` where a device has it in hardware: faster, and the rewards are as good (docs/results.md); else `fp32`."""
    import torch

    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        native = has.get("avx512_bf16", False) or has.get("amx_bf16", False)
    return "bf16" if native else "fp32"
