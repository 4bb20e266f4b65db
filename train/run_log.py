"""The log of a run: a line per epoch, a CSV, TensorBoard's events, curves, and predictions for the same samples."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from fastnas.data.transforms import denormalise, eval_transform
from fastnas.events import EventWriter
from fastnas.jetson.files import atomic_path
from fastnas.normalisation import IMAGENET, Normalisation
from fastnas.tasks.base import Batch, Pixels, Prediction, TaskHead, one_of
from fastnas.train.loop import Observer, Row, RunProgress, Trainer

SAMPLES = 4


class RunLog(Observer):
    """Logs a run to the terminal and to its folder: `epochs.csv`, `curves.png`, `images/` and TensorBoard's events.

    Args:
        folder: of the run.
        console: where lines and the progress bar go.
        trainer: of the run, which may be a resumed one. Samples of its validation data are shown with predictions.
    """

    def __init__(self, folder: Path, console: Console, trainer: Trainer) -> None:
        self.folder, self.console, self.head = folder, console, trainer.head
        self.epochs, self.rows = trainer.recipe.epochs, list(trainer.progress.rows)
        self.writer = EventWriter(folder)
        self.normalisation = trainer.raw.encoder.normalisation
        self.samples: list[Batch] = []
        for val in trainer.val:
            transform = eval_transform(val.task, trainer.val_size, multiple=32, normalisation=self.normalisation)
            count = min(-(-SAMPLES // len(trainer.val)), len(val))
            self.samples += [transform(val[i]) for i in np.linspace(0, len(val) - 1, count).astype(int).tolist()]
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        # Time left is estimated from the last ten minutes, so that evaluations count too.
        self.bar = Progress(*columns, console=console, speed_estimate_period=600)
        self.task = self.bar.add_task("training", total=self.epochs, completed=trainer.progress.epoch)

    def __enter__(self) -> RunLog:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        self.writer.close()

    def step(self, progress: RunProgress, steps: int, loss: float) -> None:
        """Move the bar; the loss of every batch goes to TensorBoard."""
        self.bar.update(
            self.task,
            completed=progress.epoch + progress.step / steps,
            description=f"epoch {progress.epoch + 1}/{self.epochs}, batch {progress.step}/{steps}, loss {loss:.4f}",
        )
        self.writer.add_scalar("loss/batch", loss, progress.updates)

    def epoch(self, row: Row, network: nn.Module) -> None:
        """Write the row everywhere, and new images."""
        self.rows.append(row)
        epoch, score = int(row["epoch"]), self.head.score(row)
        self.console.print(
            f"epoch {epoch}: loss {row['loss']:.4f}, {score.name} {score.value:.4f}, {row['seconds']:.0f} s"
        )
        for key, value in row.items():
            if key != "epoch":
                self.writer.add_scalar(key, value, epoch)
        self.writer.flush()
        write_csv(self.folder / "epochs.csv", self.rows)
        draw_curves(self.folder / "curves.png", self.rows, score.name)
        self._images(epoch, network)

    def _images(self, epoch: int, network: nn.Module) -> None:
        """The ground truth above the prediction, a column for each sample."""
        device = next(network.parameters()).device
        columns = []
        for sample in self.samples:
            with torch.inference_mode():
                logits = network.eval()(sample["image"][None].to(device)).float().cpu()
            columns.append(truth_and_prediction(self.head, sample, logits, self.normalisation))
        path = self.folder / "images" / f"epoch_{epoch:04d}.png"
        with atomic_path(path) as temporary:
            tile(columns).save(temporary, format="PNG")


def truth_and_prediction(
    head: TaskHead, sample: Mapping[str, Any], logits: Tensor, normalisation: Normalisation = IMAGENET
) -> tuple[Pixels, Pixels]:
    """Both drawn on their image, without its padding.

    Args:
        head: of the task.
        sample: transformed for evaluation.
        logits: of it, [1, K, h, w].
        normalisation: of its image.
    """
    image = denormalise(sample["image"], normalisation)
    height, width = image.shape[-2:]
    truth, prediction = head.truth(sample), one_of(head.decode(logits, (height, width)), 0)
    if "content" in sample:
        image, truth, prediction = (
            _cut(each, image.shape[-2:], sample["content"]) for each in (image, truth, prediction)
        )
    return head.draw(image, truth), head.draw(image, prediction)


def _cut(prediction: Prediction, padded: Sequence[int], content: Tensor) -> Prediction:
    """What is of an image's `padded` size (H, W) without the padding; joints as they are."""
    if isinstance(prediction, Mapping):
        return {kind: _cut(value, padded, content) for kind, value in prediction.items()}
    height, width = content.tolist()
    return prediction[..., :height, :width] if prediction.shape[-2:] == padded else prediction


def tile(columns: list[tuple[Any, ...]]) -> Image.Image:
    """Images uint8 [h, w, 3] side by side, the members of a tuple below each other; white where sizes differ."""
    gap = 6
    width = sum(max(p.shape[1] for p in column) + gap for column in columns)
    height = max(sum(p.shape[0] + gap for p in column) for column in columns)
    sheet = np.full((height, width, 3), 255, np.uint8)
    x = 0
    for column in columns:
        y = 0
        for image in column:
            sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
            y += image.shape[0] + gap
        x += max(p.shape[1] for p in column) + gap
    return Image.fromarray(sheet)


def write_csv(path: Path, rows: list[Row]) -> None:
    """One line for every evaluated epoch."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw_curves(path: Path, rows: list[Row], score: str) -> None:
    """The training loss and the validation score over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for axes, key, colour in zip(figure.subplots(1, 2), ("loss", score), ("#c0392b", "#2471a3"), strict=True):
        axes.plot(epochs, [row[key] for row in rows], marker="o", markersize=3, color=colour)
        axes.set_xlabel("epoch")
        axes.set_ylabel("training loss" if key == "loss" else f"validation {key}")
        axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
