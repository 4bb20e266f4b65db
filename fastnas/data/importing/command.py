"""`fastnas data import`: what a labelling tool wrote, as a dataset that can be trained on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastnas.data.importing import FORMATS
from fastnas.jetson.files import expand_user

if TYPE_CHECKING:
    from rich.console import Console

    from fastnas.data.importing.convert import Summary

SHOWN = 10
"""Lines of each kind that are printed; `--json` has them all."""


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new folder of the dataset.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    show_default=True,
    help="What the labelling tool wrote; auto finds out.",
)
@click.option(
    "--colours",
    type=click.Path(path_type=Path),
    help="For masks in colours: a file of lines r g b and a class, or CVAT's labelmap.txt.",
)
@click.option(
    "--val-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of images for validation, where SOURCE has no split.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of that split.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def import_command(
    source: Path, out: Path, format_name: str, colours: Path | None, val_share: float, seed: int, as_json: bool
) -> None:
    """Write what a labelling tool exported to the folder SOURCE as a dataset for training.

    Reads COCO JSON, YOLO segmentation text, LabelMe, CVAT, Pascal VOC, Supervisely, Roboflow, and folders of images and
    masks. SOURCE is only read; --out appears when everything is written.
    """
    from fastnas.console import PlainConsole
    from fastnas.data.importing.convert import import_dataset
    from fastnas.data.progress import shown_progress

    with shown_progress() as track:
        summary = import_dataset(
            expand_user(source),
            expand_user(out),
            format_name,
            expand_user(colours) if colours else None,
            val_share,
            seed,
            track,
        )
    if as_json:
        click.echo(json.dumps({**summary.to_dict(), "next": next_commands(summary)}, indent=2))
    else:
        _print(summary, PlainConsole(soft_wrap=True))


def next_commands(summary: Summary) -> list[str]:
    """The commands that check the new dataset and train on it."""
    root = shlex.quote(summary.out)
    return [
        f"fastnas data check {summary.dataset} --root {root}",
        f"fastnas train arch0 --data {summary.dataset} --root {root}",
    ]


def _print(summary: Summary, console: Console) -> None:
    from fastnas.console import printable

    images = ", ".join(f"{count} {split}" for split, count in summary.images.items())
    console.print(f"{summary.format}: {images} images written to {printable(summary.out)}")
    if summary.rotated:
        console.print(f"{summary.rotated} images have an EXIF orientation: written upright, as a camera shows them")
    console.print(_table(summary))
    for title, lines in (("note", summary.notes), ("left out", summary.dropped)):
        for line in lines[:SHOWN]:
            console.print(f"{title}: {printable(line)}")
        if len(lines) > SHOWN:
            console.print(f"{title}: {len(lines)} in all (--json lists them)")
    console.print(f"\nlook at {printable(str(Path(summary.out) / 'preview.png'))}, then")
    for command in next_commands(summary):
        console.print(f"  {printable(command)}")


def _table(summary: Summary) -> object:
    from rich.table import Table

    table = Table()
    for heading in summary.labels[0]:
        shown = f"{heading} images" if heading in summary.images else heading
        table.add_column(shown, justify="left" if heading in ("class", "joint") else "right")
    for row in summary.labels:
        table.add_row(*(f"{value:.2%}" if isinstance(value, float) else str(value) for value in row.values()))
    return table
