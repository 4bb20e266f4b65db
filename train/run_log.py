"""What a run leaves for people: a line per epoch, a CSV, TensorBoard, curves, and pictures of the same samples."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor, nn

from fastnas.data import DenseDataset
from fastnas.data.transforms import denormalise, eval_transform
from fastnas.events import EventWriter
from fastnas.jetson.files import atomic_path
from fastnas.tasks.base import Pixels, TaskHead
from fastnas.train.loop import Observer, Progress, Row

PICTURES = 4


class RunLog(Observer):
    """The observer of a run that people watch.

    Args:
        folder: of the run; `epochs.csv`, `curves.png`, `pictures/` and TensorBoard's events go there.
        console: where lines and the progress bar go.
        head: draws predictions.
        val: its first samples are the ones shown.
        val_size: input size for pose.
        epochs: length of the run.
        progress: how far it is already.
    """

    def __init__(
        self,
        folder: Path,
        console: Console,
        head: TaskHead,
        val: DenseDataset,
        val_size: tuple[int, int],
        epochs: int,
        progress: Progress,
    ) -> None:
        self.folder, self.console, self.head, self.epochs = folder, console, head, epochs
        self.rows = list(progress.rows)
        self.writer = EventWriter(folder)
        transform = eval_transform(val.task, val_size, multiple=32)
        chosen = np.linspace(0, len(val) - 1, min(PICTURES, len(val))).astype(int).tolist()
        self.samples = [transform(val[i]) for i in chosen]
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        # Time left is judged by the last ten minutes, so that evaluations count too.
        self.bar = Bar(*columns, console=console, speed_estimate_period=600)
        self.task = self.bar.add_task("training", total=epochs, completed=progress.epoch)

    def __enter__(self) -> RunLog:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        self.writer.close()

    def step(self, progress: Progress, steps: int, loss: float) -> None:
        """Move the bar; the loss of every batch goes to TensorBoard."""
        self.bar.update(
            self.task,
            completed=progress.epoch + progress.step / steps,
            description=f"epoch {progress.epoch + 1}/{self.epochs}, batch {progress.step}/{steps}, loss {loss:.4f}",
        )
        self.writer.add_scalar("loss/batch", loss, progress.updates)

    def epoch(self, row: Row, network: nn.Module) -> None:
        """Write the row everywhere, and new pictures."""
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
        self._pictures(epoch, network)

    def _pictures(self, epoch: int, network: nn.Module) -> None:
        """The truth above the prediction, a column for each sample."""
        device = next(network.parameters()).device
        columns = []
        for sample in self.samples:
            with torch.inference_mode():
                logits = network.eval()(sample["image"][None].to(device)).float().cpu()
            columns.append(truth_and_prediction(self.head, sample, logits))
        path = self.folder / "pictures" / f"epoch_{epoch:04d}.png"
        with atomic_path(path) as temporary:
            tile(columns).save(temporary, format="PNG")


def truth_and_prediction(head: TaskHead, sample: dict[str, Any], logits: Tensor) -> tuple[Pixels, Pixels]:
    """Both drawn on their image, without its padding.

    Args:
        head: of the task.
        sample: transformed for evaluation.
        logits: of it, [1, K, h, w].
    """
    image = denormalise(sample["image"])
    height, width = image.shape[-2:]
    truth, prediction = head.truth(sample), head.decode(logits, (height, width))[0]
    if "content" in sample:
        height, width = sample["content"].tolist()
        image, truth, prediction = (each[..., :height, :width] for each in (image, truth, prediction))
    return head.draw(image, truth), head.draw(image, prediction)


def tile(columns: list[tuple[Any, ...]]) -> Image.Image:
    """Pictures uint8 [h, w, 3] side by side, the members of a tuple below each other; white where sizes differ."""
    gap = 6
    width = sum(max(p.shape[1] for p in column) + gap for column in columns)
    height = max(sum(p.shape[0] + gap for p in column) for column in columns)
    sheet = np.full((height, width, 3), 255, np.uint8)
    x = 0
    for column in columns:
        y = 0
        for picture in column:
            sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            y += picture.shape[0] + gap
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
