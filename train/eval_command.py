"""`fastnas eval`: the paper's tables for a trained model, its pictures, and the images it does worst on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fastnas.errors import FastnasError
from fastnas.jetson.options import RESOLUTION
from fastnas.options import ACCELERATOR

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from fastnas.tasks.base import Batch, TaskHead

EXTREMES = 5


class Judged(NamedTuple):
    """An image and its score."""

    name: str
    score: float


def _scales(_: click.Context, __: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(item) for item in text.split(","))
    except ValueError as error:
        raise click.BadParameter("give numbers separated by commas, such as 0.5,1,1.5") from error
    if not all(0.1 <= scale <= 10 for scale in scales):
        raise click.BadParameter("each scale lies between 0.1 and 10")
    return scales


@click.command(name="eval", short_help="Measure a trained model.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", default="synthetic", show_default=True, help="Dataset, as NAME (its val) or NAME:SPLIT.")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the dataset.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", help="Of an artifact's file.")
@click.option("--flip/--no-flip", default=None, help="Average with the mirror image; by default for pose alone.")
@click.option("--scales", default="1", callback=_scales, help="Segmentation: average over sizes, such as 0.5,1,1.5.")
@click.option("--size", type=RESOLUTION, help="Pose: input of the network; by default that of its training.")
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), help="Folder for a picture per image.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Only so many images, evenly spread; 0 for all.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Loader processes.")
@ACCELERATOR
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate_command(
    model: Path,
    data: str,
    root: Path | None,
    precision: str,
    flip: bool | None,
    scales: tuple[float, ...],
    size: tuple[int, int] | None,
    pictures: Path | None,
    limit: int,
    workers: int,
    accelerator: str,
    as_json: bool,
) -> None:
    """Measure a trained model: the tables of the paper for its task, and its best and worst images.

    MODEL is a model file, or the folder of an exported artifact, so that what is measured is what is deployed.

    \b
    fastnas eval runs/arch0-camvid/model.safetensors --data camvid --root CamVid
    fastnas eval model.safetensors --data voc --root VOCdevkit --flip --scales 0.5,0.75,1,1.25,1.5
    fastnas eval artifacts/arch0 --precision int8 --data camvid --root CamVid --pictures pictures
    """
    from lightning_fabric import Fabric
    from rich.console import Console
    from rich.progress import Progress

    from fastnas.data import open_dataset
    from fastnas.tasks.registry import head_for
    from fastnas.train.evaluate import at_scales, evaluate, flipped, for_json
    from fastnas.train.predictors import open_subject
    from fastnas.train.settings import limited

    device = Fabric(accelerator=accelerator, devices=1).device
    subject = open_subject(model, precision, device)
    kind = subject.task.kind
    name, _, split = data.partition(":")
    dataset = limited(open_dataset(name, root, split or "val", kind), limit)
    if dataset.task != subject.task:
        raise FastnasError(
            f"{model} predicts {kind} with {subject.task.outputs} outputs, but {data} has {dataset.task.kind} with "
            f"{dataset.task.outputs}, or others of the same number: evaluate it on the data it was trained for"
        )
    head, predict = head_for(subject.task), subject.predict
    if scales != (1.0,):
        if kind != "segmentation":
            raise FastnasError(f"--scales is for segmentation, and {model} predicts {kind}")
        predict = at_scales(predict, scales)
    if flip if flip is not None else kind == "pose":
        predict = flipped(predict, head)

    console = Console(highlight=False, stderr=as_json)
    judged: list[Judged] = []
    bar = Progress(*Progress.get_default_columns(), console=console)
    evaluating = bar.add_task("evaluating", total=len(dataset))

    def watch(batch: Batch, logits: Tensor) -> None:
        for i, image_name in enumerate(batch["name"]):
            one = {key: value[i : i + 1] for key, value in batch.items()}
            judged.append(Judged(image_name, _score(head, one, logits[i : i + 1])))
            if pictures is not None:
                _save_picture(pictures / f"{image_name.replace('/', '_')}.png", head, one, logits[i : i + 1])
            bar.advance(evaluating)

    with bar:
        metrics = evaluate(predict, dataset, size or subject.size, device, workers=workers, watch=watch)
    values = metrics.compute()
    score = head.score(values)
    ranked = sorted(
        (one for one in judged if not math.isnan(one.score)), key=lambda one: one.score, reverse=score.higher_is_better
    )
    best, worst = ranked[:EXTREMES], ranked[::-1][:EXTREMES]
    if as_json:
        result = {
            "model": str(model), "data": data, "split": dataset.split, "images": len(dataset), "score": score.name,
            "metrics": for_json(values),
            "best": [one._asdict() for one in best], "worst": [one._asdict() for one in worst],
        }  # fmt: skip
        click.echo(json.dumps(result))
        return
    console.print(f"{model}: {len(dataset)} images of {data}")
    for table in tables(values, console.width):
        console.print(table)
    for title, extremes in (("best", best), ("worst", worst)):
        listed = ", ".join(f"{one.name} {one.score:.3f}" for one in extremes)
        console.print(f"{title} by {score.name}: {listed}", soft_wrap=True)
    if pictures is not None:
        console.print(f"truth and prediction of every image: {pictures}")


def tables(values: dict[str, float], width: int) -> list[Table]:
    """Figures as the paper prints them: the overall ones in a row, then a row of classes or joints for each.

    Args:
        values: of `Metrics.compute`; `iou/car` is in row `iou`, column `car`.
        width: of the terminal, in characters; rows that are wider go on in a further table.
    """
    overall = {key: value for key, value in values.items() if "/" not in key}
    rows: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        row, slash, column = key.partition("/")
        if slash:
            rows.setdefault(row, {})[column] = value
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    first = max(map(len, rows), default=0)
    return [
        *(_table([""], {"": overall}, chunk) for chunk in _chunks(list(overall), width - 1)),
        *(_table(list(rows), rows, chunk) for chunk in _chunks(columns, width - first - 4)),
    ]


def _chunks(columns: list[str], width: int) -> list[list[str]]:
    """The columns in their order, as many at a time as fit."""
    chunks: list[list[str]] = [[]]
    for column in columns:
        if chunks[-1] and sum(max(len(name), 5) + 3 for name in (*chunks[-1], column)) > width:
            chunks.append([])
        chunks[-1].append(column)
    return [chunk for chunk in chunks if chunk]


def _table(names: list[str], rows: dict[str, dict[str, float]], columns: list[str]) -> Table:
    from rich.table import Table

    table = Table()
    if any(names):
        table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name in names:
        cells = [_figure(rows[name].get(column, math.nan)) for column in columns]
        table.add_row(*([name] if any(names) else []), *cells)
    return table


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _score(head: TaskHead, one: Batch, logits: Tensor) -> float:
    """The score of a single image, NaN if it has no label."""
    metrics = head.metrics()
    metrics.update(logits, one)
    return head.score(metrics.compute()).value


def _save_picture(path: Path, head: TaskHead, one: dict[str, Any], logits: Tensor) -> None:
    """The truth beside the prediction."""
    from fastnas.jetson.files import atomic_path
    from fastnas.train.run_log import tile, truth_and_prediction

    sample = {key: value[0].cpu() if hasattr(value, "cpu") else value[0] for key, value in one.items()}
    pictures = truth_and_prediction(head, sample, logits.cpu())
    with atomic_path(path) as temporary:
        tile([(picture,) for picture in pictures]).save(temporary, format="PNG")
