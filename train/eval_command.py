"""`fastnas eval`: the paper's metrics for a trained model, its predictions, and the images it does worst on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from fastnas import shelf
from fastnas.errors import FastnasError
from fastnas.jetson.files import expand_user
from fastnas.jetson.options import RESOLUTION
from fastnas.options import ACCELERATOR, MODEL, WORKERS
from fastnas.published import evaluation

if TYPE_CHECKING:
    import torch
    from rich.table import Table
    from torch import Tensor

    from fastnas.data import DenseDataset
    from fastnas.normalisation import Normalisation
    from fastnas.published import Evaluation as Published
    from fastnas.tasks.base import Batch, Metrics, Score, TaskHead
    from fastnas.train.evaluate import ImageScore, Predictor
    from fastnas.train.predictors import OpenPredictor

EXTREMES = 5


class Evaluation(NamedTuple):
    """What was measured.

    Attributes:
        metrics: over all images.
        score: the one of them that ranks models.
        images: scores of the single images, best first, without those that have no label.
        total: how many images there were.
    """

    metrics: dict[str, float]
    score: Score
    images: list[ImageScore]
    total: int

    @property
    def extremes(self) -> dict[str, list[ImageScore]]:
        """The best and the worst images, each from the extreme on."""
        return {"best": self.images[:EXTREMES], "worst": self.images[::-1][:EXTREMES]}


def _scales(_: click.Context, __: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(item) for item in text.split(","))
    except ValueError as error:
        raise click.BadParameter("give numbers separated by commas, such as 0.5,1,1.5") from error
    if not all(0.1 <= scale <= 10 for scale in scales):
        raise click.BadParameter("each scale lies between 0.1 and 10")
    return scales


@click.command(name="eval", short_help="Evaluate a trained model.", epilog=shelf.names_help())
@click.argument("model", metavar="NAME|MODEL|ARTIFACT", type=MODEL)
@click.option("--data", default="synthetic", show_default=True, help="Dataset, as [KIND=]NAME[:SPLIT].")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the dataset.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", help="Of an artifact's file.")
@click.option("--flip/--no-flip", default=None, help="Average with the mirror image; by default for pose alone.")
@click.option("--scales", default="1", callback=_scales, help="Segmentation: average over sizes, such as 0.5,1,1.5.")
@click.option(
    "--res", "size", type=RESOLUTION, help="Pose: size of the crops of people; by default that of its training."
)
@click.option(
    "--images",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for an image of ground truth and prediction of each sample.",
)
@click.option(
    "--detections",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Pose of a COCO keypoint file: in the boxes of this file, in COCO's format of results, not the labelled ones.",
)
@click.option(
    "--detection-score",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Leave out boxes of a lower score.",
)
@click.option("--limit", type=click.IntRange(0), default=0, help="Only so many images, evenly spread; 0 for all.")
@WORKERS
@ACCELERATOR
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def evaluate_command(
    model: Path,
    data: str,
    root: Path | None,
    precision: str,
    flip: bool | None,
    scales: tuple[float, ...],
    size: tuple[int, int] | None,
    images: Path | None,
    detections: Path | None,
    detection_score: float,
    limit: int,
    workers: int,
    accelerator: str,
    as_json: bool,
) -> None:
    """Evaluate a trained model: the paper's metrics for its task, and its best and worst images.

    Of a model with several tasks the one is evaluated that the dataset has labels for; KIND= chooses where it has
    several. Its pose is that of the largest person in the whole image, or with --res that of every person's crop.

    NAME is a trained model (street, ...), MODEL a model file, and ARTIFACT the folder of an exported one, so that what
    is measured is what is deployed.

    \b
    fastnas eval street --data camvid --root CamVid
    fastnas eval runs/arch0-camvid/model.safetensors --data camvid --root CamVid
    fastnas eval model.safetensors --data voc --root VOCdevkit --flip --scales 0.5,0.75,1,1.25,1.5
    fastnas eval trio --data nyud --root NYUD
    fastnas eval runs/arch0-coco/model.safetensors --data coco --root COCO --detections detections.json
    fastnas eval artifacts/arch0 --precision int8 --data camvid --root CamVid --images predictions
    """
    from lightning_fabric import Fabric
    from rich.progress import Progress

    from fastnas.console import PlainConsole
    from fastnas.data import DataName
    from fastnas.train.evaluate import for_json
    from fastnas.train.predictors import open_predictors

    device = Fabric(accelerator=accelerator, devices=1).device
    console = PlainConsole(stderr=as_json)
    with open_predictors(model, precision, device) as predictors:
        dataset, opened = _open_data(data, root, limit, predictors, model, crops=size is not None)
        metrics = None
        if detections is not None:
            if limit:
                raise click.UsageError("--detections is compared with all annotated people: leave out --limit")
            dataset, metrics = _detected(dataset, expand_user(detections), detection_score)
        opened = replace(opened, predict=_averaged(opened, flip, scales, model), size=size or opened.size)
        with Progress(*Progress.get_default_columns(), console=console) as bar:
            task = bar.add_task("evaluating", total=len(dataset))
            found = _evaluate(opened, dataset, device, workers, images, lambda count: bar.advance(task, count), metrics)
    paper = evaluation(DataName.parse(data).name, opened.architecture) if dataset.split == "val" else None
    if as_json:
        extremes = {name: [one._asdict() for one in ranked] for name, ranked in found.extremes.items()}
        result = {
            "model": str(model), "data": data, "split": dataset.split, "images": found.total,
            "score": found.score.name, "metrics": for_json(found.metrics),
            "paper": None if paper is None else paper._asdict(), **extremes,
        }  # fmt: skip
        click.echo(json.dumps(result))
        return
    console.print(f"{model}: {found.total} images of {data}")
    compared = [] if paper is None else _beside(found.metrics, paper, console.width)
    for table in (*tables(found.metrics, console.width), *compared):
        console.print(table)
    for name, ranked in found.extremes.items():
        if not ranked:  # no image has a label of its own
            continue
        listed = ", ".join(f"{one.name} {one.score:.3f}" for one in ranked)
        console.print(f"{name} by {found.score.name}: {listed}", soft_wrap=True)
    if images is not None:
        console.print(f"ground truth and prediction of every image: {images}")


def _open_data(
    data: str, root: Path | None, limit: int, predictors: Mapping[str, OpenPredictor], model: Path, *, crops: bool
) -> tuple[DenseDataset, OpenPredictor]:
    """The dataset, and the predictor of its task, which must be one of the model's.

    Where a pose is found in whole images, unless `crops` of people are asked for, it is that of each image's largest
    person.
    """
    from fastnas.data import DataName
    from fastnas.data.base import largest_people
    from fastnas.train.settings import limited

    name = DataName.parse(data)
    dataset = name.open_at(root, "val", _only(predictors))
    kind = dataset.task.kind
    if kind not in predictors or dataset.task != predictors[kind].task:
        has = " and ".join(f"{each.task.kind} with {each.task.outputs} outputs" for each in predictors.values())
        raise FastnasError(
            f"{model} predicts {has}, but {data} has {kind} with {dataset.task.outputs}, or others of the same number: "
            "evaluate it on the data it was trained for"
        )
    opened = predictors[kind]
    whole = kind == "pose" and opened.size is None and not crops
    return limited(largest_people(dataset) if whole else dataset, limit), opened


def _detected(dataset: DenseDataset, path: Path, minimum: float) -> tuple[DenseDataset, Metrics]:
    """The people of a detection file in the images of a dataset, and their metrics."""
    from fastnas.data.detections import read_detections
    from fastnas.data.formats.keypoints import CocoPeople
    from fastnas.tasks.detection_metrics import DetectionMetrics
    from fastnas.tasks.registry import head_for

    if not isinstance(dataset, CocoPeople):
        raise FastnasError(
            "--detections is for the people of a whole COCO keypoint file, in crops: give --data coco or keypoints, "
            "and --res where the model takes whole images"
        )
    found = read_detections(path, dataset, minimum)
    return found, DetectionMetrics(found.task, head_for(found.task).decode, found.scores, found.truth)


def _only(predictors: Mapping[str, OpenPredictor]) -> str | None:
    """The kind of task of a model that has one."""
    return next(iter(predictors)) if len(predictors) == 1 else None


def _averaged(opened: OpenPredictor, flip: bool | None, scales: tuple[float, ...], model: Path) -> Predictor:
    """The predictor, averaged over scales and mirror images as the options say."""
    from fastnas.tasks.registry import head_for
    from fastnas.train.evaluate import at_scales, flipped

    predict, kind = opened.predict, opened.task.kind
    if scales != (1.0,):
        if kind != "segmentation":
            raise FastnasError(f"--scales is for segmentation, and {model} predicts {kind}")
        predict = at_scales(predict, scales)
    if flip if flip is not None else kind == "pose":
        predict = flipped(predict, head_for(opened.task))
    return predict


def _evaluate(
    opened: OpenPredictor,
    dataset: DenseDataset,
    device: torch.device,
    workers: int,
    images: Path | None,
    advance: Callable[[int], object],
    metrics: Metrics | None = None,
) -> Evaluation:
    """Metrics over the dataset, `metrics` or the task's own, and the score of each image.

    With `images`, a file for each in that folder.
    """
    from fastnas.tasks.registry import head_for
    from fastnas.train.evaluate import evaluate, image_scores, images_of

    head = head_for(opened.task)
    scores: list[ImageScore] = []

    def watch(batch: Batch, logits: Tensor) -> None:
        scores.extend(image_scores(head, batch, logits))
        if images is not None:
            for name, one, output in images_of(batch, logits):
                _save_image(images / f"{name.replace('/', '_')}.png", head, one, output, opened.normalisation)
        advance(len(logits))

    values = evaluate(
        opened.predict, dataset, opened.size, device,
        normalisation=opened.normalisation, workers=workers, watch=watch, metrics=metrics,
    ).compute()  # fmt: skip
    score = head.score(values)
    labelled = (one for one in scores if not math.isnan(one.score))
    ranked = sorted(labelled, key=lambda one: one.score, reverse=score.higher_is_better)
    return Evaluation(values, score, ranked, len(dataset))


def tables(values: dict[str, float], width: int) -> list[Table]:
    """Metrics as the paper prints them: the overall ones in a row, then a row of classes or joints for each.

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


def _beside(values: dict[str, float], paper: Published, width: int) -> list[Table]:
    """The metrics that the paper has, above its own."""
    label = f"paper, {paper.table}"
    rows = {"here": values, label: paper.metrics}
    return [_table(list(rows), rows, chunk) for chunk in _chunks(list(paper.metrics), width - len(label) - 4)]


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
        cells = [_cell(rows[name].get(column, math.nan)) for column in columns]
        table.add_row(*([name] if any(names) else []), *cells)
    return table


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _save_image(path: Path, head: TaskHead, one: Batch, logits: Tensor, normalisation: Normalisation) -> None:
    """The ground truth beside the prediction, as PNG."""
    from fastnas.jetson.files import atomic_path
    from fastnas.train.run_log import tile, truth_and_prediction

    sample = {key: value[0].cpu() if hasattr(value, "cpu") else value[0] for key, value in one.items()}
    drawn = truth_and_prediction(head, sample, logits.cpu(), normalisation)
    with atomic_path(path) as temporary:
        tile([(each,) for each in drawn]).save(temporary, format="PNG")
