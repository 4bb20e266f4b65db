"""`fastnas search`: find an architecture."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastnas.errors import FastnasError
from fastnas.jetson.options import Parsed
from fastnas.options import ACCELERATOR, DATA, DATA_TASK, DIR, FILE, keep_settings, set_option

if TYPE_CHECKING:
    import torch

    from fastnas.search.driver import Workers
    from fastnas.search.history import Run
    from fastnas.search.settings import LimitSettings, SearchSettings

SYNTHETIC_HOURS = 8 / 60
OTHER_CANDIDATES = 500
CHANGEABLE = (
    "resume", "candidates", "hours", "address", "ray_cpus", "ray_gpus", "accelerator", "processes", "workers", "cache",
    "as_json",
)  # fmt: skip
"""Parameters that a resumed search may change: its budget, and those of the machine."""
SETTING = {
    "data": "data", "root": "root", "task": "task", "seed": "seed", "candidates": "candidates", "hours": "hours",
    "strategy": "policy.strategy", "stop_rule": "stop.rule", "encoder": "evaluation.encoder",
    "encoder_weights": "evaluation.encoder_weights", "teacher": "evaluation.teacher",
    "precision": "evaluation.precision", "polyak": "evaluation.polyak", "auxiliary": "evaluation.auxiliary",
    "distillation": "evaluation.distillation", "max_parameters": "limits.parameters", "max_madds": "limits.madds",
    "max_latency": "limits.latency", "latency_host": "limits.latency_host", "target_latency": "limits.target_latency",
    "target_madds": "limits.target_madds", "resolution": "limits.resolution",
}  # fmt: skip
"""Parameter -> the setting that it changes."""


def parse_hours(text: str) -> float:
    """A time such as `90s`, `10m`, `2h` or `1.5d`, as hours.

    Raises:
        ValueError: it is something else, or 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match or not float(match[1]):
        raise ValueError(f"{text!r} is not a time such as 90s, 10m, 2h or 1d")
    return float(match[1]) * {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0}[match[2]]


@click.command(short_help="Find an architecture.")
@DATA
@click.option("--root", type=DIR, help="Folder of the dataset.")
@DATA_TASK
@click.option(
    "--strategy",
    type=click.Choice(["ppo", "reinforce", "random", "evolution", "predictor"]),
    help="How architectures are proposed; by default ppo. predictor needs scikit-learn.",
)
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice(["paper", "8gb", "small", "tiny"]),
    help="Sizes of crops, batches and networks; by default paper, and tiny for synthetic.",
)
@click.option(
    "--candidates",
    type=click.IntRange(1),
    help=f"Stop after so many candidates, refused ones not counted; {OTHER_CANDIDATES} if no budget is set.",
)
@click.option(
    "--time",
    "hours",
    type=Parsed("TIME", parse_hours),
    help="Stop after this time, such as 10m or 4d; 8m for synthetic.",
)
@click.option(
    "--encoder", help="Backbone, or timm/NAME; NAME-os16 has an output stride of 16; by default mobilenet_v2."
)
@click.option(
    "--encoder-weights",
    type=FILE,
    metavar="imagenet|FILE|MODEL|scenes|none",
    help="imagenet (download), a file, the encoder of a trained model (by name or file), scenes (a minute of training "
    "on the generated scenes), or none (random). "
    "By default imagenet, and scenes for synthetic.",
)
@click.option(
    "--teacher",
    type=FILE,
    metavar="MODEL",
    help="Knowledge distillation in stage 1 from MODEL.safetensors, MODEL.onnx or torchvision/NAME.",
)
@click.option(
    "--stop-rule",
    type=click.Choice(["paper", "public", "halving", "never"]),
    help="Which candidates are stopped early; by default paper. halving: all but the best third, also within stage 1.",
)
@click.option(
    "--no-polyak", "polyak", flag_value=False, default=None, help="Evaluate the final weights instead of their EMA."
)
@click.option("--no-aux", "auxiliary", flag_value=False, default=None, help="Train without auxiliary heads.")
@click.option(
    "--no-distillation", "distillation", flag_value=False, default=None, help="Train without the teacher's loss."
)
@click.option("--max-parameters", type=click.FloatRange(0), help="Refuse architectures of more, in millions.")
@click.option("--max-madds", type=click.FloatRange(0), help="Refuse architectures of more multiply-adds, in G (10^9).")
@click.option("--max-latency", type=click.FloatRange(0), help="Refuse slower ones (ONNX Runtime, this machine), in ms.")
@click.option("--latency-host", metavar="USER@JETSON[:PORT]", help="Measure latency there instead, over SSH, in fp16.")
@click.option(
    "--target-latency",
    type=click.FloatRange(0),
    help="Lower the reward of architectures slower than this, in ms; 0 for no target.",
)
@click.option(
    "--target-madds",
    type=click.FloatRange(0),
    help="Lower the reward of those with more multiply-adds than this, in G (10^9); 0 for no target. By default "
    "arch0's, where no other target or limit of speed is given.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="bf16 is mixed precision, the default where this machine has it in hardware.",
)
@click.option(
    "--res",
    "resolution",
    type=click.IntRange(32),
    help="Side of the square input that multiply-adds and latency are for, in pixels; by default 512.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of all randomness; by default 0.")
@set_option("fastnas.search.settings:SearchSettings", "a setting of settings.json")
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
    help="GPUs per evaluation; 0.5 runs two on one GPU.",
)
@ACCELERATOR
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="Processes that evaluate on this machine's CPU and share its cores; by default 2, or 1 where the latency of "
    "candidates is measured here.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Data loader processes of stage 2, for each evaluation.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder of cached encoder outputs; by default $FASTNAS_CACHE, or ~/.cache/fastnas.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every event as a line of JSON.")
def search(
    resume: Path | None,
    out: Path | None,
    address: str | None,
    ray_cpus: float,
    ray_gpus: float,
    accelerator: str,
    processes: int | None,
    workers: int,
    cache: Path | None,
    as_json: bool,
    preset_name: str | None,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Find an architecture.

    A candidate is trained for a short time and evaluated: the decoder alone on cached encoder outputs, then, if its
    reward is high enough, the whole network for an epoch. A strategy learns from the rewards what to propose next.
    The search can be killed at any moment and resumed.

    \b
    fastnas search                                     generated scenes, about ten minutes on a laptop
    fastnas search --data voc:trainaug --root VOCdevkit --time 4d
    fastnas search --data camvid --root CamVid --preset small --candidates 300 --out runs/camvid
    fastnas search --data camvid --root CamVid --strategy random --out runs/random
    fastnas search --data camvid --root CamVid --ray head:6379 --ray-gpus 1
    fastnas search --resume runs/camvid
    """
    import torch

    from fastnas.console import PlainConsole
    from fastnas.hardware import keep_freed_memory
    from fastnas.jetson.files import cache_root
    from fastnas.search.best import best_record
    from fastnas.search.costs import costs, with_target
    from fastnas.search.driver import LocalWorker, Search
    from fastnas.search.evaluation.prepare import prepare
    from fastnas.search.history import Run
    from fastnas.search.progress import JsonLines, TensorBoard, Terminal, Views, front_table
    from fastnas.search.report.page import training_command, write_report

    cuda = accelerator == "cuda" or (accelerator == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if cuda else "cpu")
    if not cuda:
        keep_freed_memory()
    if resume is not None:
        keep_settings(CHANGEABLE)
        run = Run.resume(resume)
        count = _processes(processes, run.settings.limits, cuda, address)
        if options["candidates"] is not None or options["hours"] is not None:
            run.extend(options["candidates"], options["hours"])
    else:
        new = with_target(_settings(options, preset_name, assignments, device))
        count = _processes(processes, new.limits, cuda, address)
        run = Run.start(out or Path("runs/search"), new)
    settings, folder = run.settings, cache or cache_root()
    console = PlainConsole(stderr=as_json)
    with ExitStack() as stack:
        stack.enter_context(run)
        console.print(_headline(run), soft_wrap=True)
        terminal = stack.enter_context(Terminal(console))
        board = stack.enter_context(TensorBoard(run.folder, run.records))
        views = Views(*([JsonLines()] if as_json else []), terminal, board)
        evaluator = prepare(settings, cache=folder, device=device, workers=workers, notify=views.preparing)

        def cost(genotype: Any) -> dict[str, float]:
            return costs(genotype, evaluator.images.task, settings.evaluation.encoder, settings.limits, folder)

        if address is not None:
            from fastnas.search.ray_workers import RayWorkers

            where: Workers = stack.enter_context(RayWorkers(evaluator, views, address, cpus=ray_cpus, gpus=ray_gpus))
        elif count > 1:
            from fastnas.search.processes import ProcessWorkers

            where = stack.enter_context(ProcessWorkers(settings, folder, count, views, workers))
        else:
            where = LocalWorker(evaluator, views)
        driver = Search(run, where, views, cost)
        terminal.search = driver
        driver.go_on()
    best = best_record(run.records)
    if best is None:
        raise FastnasError(f"no candidate of {run.folder} was evaluated; its history.jsonl gives the reasons")
    if as_json:
        click.echo(json.dumps({"event": "end", "run": str(run.folder), "best": json.loads(best.to_json())}))
    console.print(
        f"{len(run.records)} candidates in {run.folder}; best reward {best.reward:.3f}, candidate "
        f"{best.candidate.number}:\n{best.candidate.genotype}",
        soft_wrap=True,
    )
    console.print(front_table(run.records))
    page, _ = write_report((run.folder,))
    console.print(f"report: {page}", soft_wrap=True)
    console.print(f"next: {training_command(run.folder, settings)}", soft_wrap=True)


def _processes(given: int | None, limits: LimitSettings, cuda: bool, address: str | None) -> int:
    """How many processes evaluate on this machine, without Ray.

    Raises:
        click.UsageError: several were asked for where there can be but one.
    """
    from fastnas.search.processes import usable_cores

    measured_here = limits.needs_latency and limits.latency_host is None
    reasons = {
        "Ray decides how many evaluations run at a time": address is not None,
        "on a GPU one evaluates at a time; --ray --ray-gpus 0.5 shares it": cuda,
        "the latency of candidates is measured on this machine, which must be idle then": measured_here,
    }
    reason = next((reason for reason, applies in reasons.items() if applies), None)
    if reason and (given or 1) > 1:
        raise click.UsageError(f"--processes {given}: {reason}")
    return 1 if reason else given or min(2, usable_cores())


def _headline(run: Run) -> str:
    """Strategy, data and budget of the search, with a warning where the encoder's weights make rewards unreliable."""
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
            "WARNING: the encoder has random weights and stays frozen in stage 1, so rewards say little about those "
            "with a trained encoder. Use --encoder-weights imagenet, or a file."
        )
    if how.encoder_weights == "scenes":
        lines.append(
            f"encoder: {how.encoder}, trained for a minute on generated scenes: enough to try a search out without a "
            "download. For reliable rewards use --encoder-weights imagenet."
        )
    for name, unit in (("madds", "G multiply-adds"), ("latency", "ms")):
        if target := getattr(settings.limits, f"target_{name}"):
            lines.append(f"target: {target:g} {unit}; what is above it lowers the reward")
    if how.distillation and not how.teacher:
        lines.append("no --teacher is given: stage 1 trains without knowledge distillation")
    return "\n".join(lines)


def _settings(
    options: dict[str, Any], preset_name: str | None, assignments: tuple[str, ...], device: torch.device
) -> SearchSettings:
    """The settings that the options describe, for training on a device."""
    from fastnas.config import changed, override
    from fastnas.data import DataName
    from fastnas.hardware import has_bfloat16
    from fastnas.search.presets import preset

    synthetic = DataName.parse(options["data"]).name == "synthetic"
    given = {SETTING[name]: value for name, value in options.items() if value is not None}
    if given.keys().isdisjoint(("candidates", "hours")):
        given |= {"hours": SYNTHETIC_HOURS} if synthetic else {"candidates": OTHER_CANDIDATES}
    defaults = {
        "evaluation.precision": "bf16" if has_bfloat16(device) else "fp32",
        "evaluation.encoder_weights": "scenes" if synthetic else "imagenet",
    }
    settings = preset(preset_name or ("tiny" if synthetic else "paper"))
    return override(changed(settings, defaults | given), assignments)
