"""`fastnas data`: datasets from labelling tools, checks and drawings of datasets before they are trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastnas.data.importing.command import import_command
from fastnas.jetson.files import expand_user
from fastnas.jetson.options import Parsed

if TYPE_CHECKING:
    from rich.console import Console

    from fastnas.data.check import Report, SplitReport

SHOWN = 10
"""Lines of problems and sizes that are printed for a split; `--json` has them all."""


def parse_mask_map(text: str) -> dict[int, int]:
    """`255=1,128=255` as {255: 1, 128: 255}.

    Raises:
        ValueError: it is something else.
    """
    found = {}
    for part in text.split(","):
        stored, _, meant = part.partition("=")
        if not (stored.strip().isdecimal() and meant.strip().isdecimal()) or int(stored) in found:
            raise ValueError(f"{text!r} is not STORED=ID, such as 255=1 or 128=1,255=2")
        found[int(stored)] = int(meant)
    return found


@click.group()
def data() -> None:
    """Check, show and import datasets."""


data.add_command(import_command)


@data.command()
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the dataset.")
@click.option("--task", help="segmentation, pose or depth, where the dataset has several.")
@click.option("--all", "decode_all", is_flag=True, help="Decode every sample, not only all headers and 100 samples.")
@click.option(
    "--mask-map",
    type=Parsed("STORED=ID,...", parse_mask_map),
    help="Read numbers of the masks of a `folder` as other class ids, such as 255=1: tries a `mask_map`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(
    name: str,
    root: Path | None,
    task: str | None,
    decode_all: bool,
    mask_map: dict[int, int] | None,
    as_json: bool,
) -> None:
    """Report what of the dataset NAME is in --root, what is broken, what is missing and where to get it.

    NAME:SPLIT is one split alone, such as one by a list of your own.

    Exit code 1 when there are no samples, or something is broken.
    """
    from fastnas.console import PlainConsole
    from fastnas.data import DataName
    from fastnas.data.check import check_dataset
    from fastnas.data.progress import shown_progress

    with shown_progress() as track:
        options = {} if mask_map is None else {"mask_map": mask_map}
        named, decode = DataName.parse(name), None if decode_all else 100
        kind = named.kind or task
        report = check_dataset(named.name, root, kind, named.split, decode=decode, track=track, **options)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print(report, PlainConsole(soft_wrap=True))
        if mask_map is not None and report.ok:
            click.echo(f'to train with it, write "mask_map": {json.dumps(mask_map)} into dataset.json')
    if not report.ok:
        raise SystemExit(1)


@data.command()
@click.argument("name", metavar="DATASET")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the dataset.")
@click.option("--task", help="segmentation, pose or depth, where the dataset has several.")
@click.option("--split", show_default="train", help="The part of the dataset.")
@click.option("--out", type=click.Path(path_type=Path), help="The PNG to write; DATASET-SPLIT.png where not given.")
@click.option("--count", type=click.IntRange(1, 60), default=6, show_default=True, help="How many samples to draw.")
@click.option("--json", "as_json", is_flag=True, help="Print what was drawn as JSON.")
def show(
    name: str, root: Path | None, task: str | None, split: str | None, out: Path | None, count: int, as_json: bool
) -> None:
    """Draw samples of DATASET, NAME or NAME:SPLIT, with their labels on one sheet, spread evenly over the split."""
    from fastnas.data import DataName
    from fastnas.data.show import draw_sheet

    named = DataName.parse(name)
    if named.split and split:
        raise click.UsageError(f"{name} names a split: leave out --split {split}")
    dataset = named.open_at(root, split or "train", task)
    name, split = dataset.name, dataset.split
    target = out or Path(f"{name}-{split}.png")
    drawn = draw_sheet(dataset, expand_user(target), count)
    if as_json:
        values = {"dataset": name, "split": split, "samples": len(dataset), "out": str(target), "drawn": drawn}
        click.echo(json.dumps(values, indent=2))
    else:
        click.echo(f"{len(drawn)} of {len(dataset)} samples of {name} {split} drawn in {target}")


def _print(report: Report, console: Console) -> None:
    from rich.text import Text

    from fastnas.console import printable

    where = f" in {report.root}" if report.root else ""
    console.print(Text.assemble((report.title, "bold"), f"{printable(where)}: {report.task}"))
    for split in report.splits:
        _print_split(split, report.task, console)
    # A published split can be got; few keep test samples aside in data of their own, and need no layout to do so.
    needed = [split for split in report.splits if split.split != "test" or split.official is not None]
    if not any(split.samples for split in report.splits) or any(split.absent for split in needed):
        console.print("\nexpected files:")
        console.print(report.layout)
        console.print(f"get it from {report.source}")
    console.print("\nready" if report.ok else "\nnot ready", style="green" if report.ok else "red")


def _print_split(split: SplitReport, kind: str, console: Console) -> None:
    from rich.text import Text

    from fastnas.console import printable

    if split.absent:
        console.print(f"\n{split.split}: {split.absent}", style="dim")
        return
    official = f" (the published dataset has {split.official})" if split.official not in (None, split.samples) else ""
    console.print(Text.assemble("\n", (split.split, "bold"), f": {split.samples} samples{official}"))
    sizes = [f"{size} ({count})" for size, count in split.sizes.items()]
    if sizes:
        more = f" and {len(sizes) - SHOWN} other sizes" if len(sizes) > SHOWN else ""
        console.print(f"  sizes: {', '.join(sizes[:SHOWN])}{more}")
    if split.rotated:
        console.print(f"  {split.rotated} images carry an EXIF orientation: read as a camera shows them")
    if split.labels:
        console.print(f"  {_HEADINGS[kind]}, in {split.decoded} samples:")
        width = max(map(len, split.labels))
        for label, value in split.labels.items():
            if kind == "depth" and label != "missing":
                console.print(f"    {label:<{width}} {value:8.2f} m")
            else:
                console.print(f"    {label:<{width}} {value:8.2%} {'█' * round(40 * value)}")
    for word, style, lines in (
        ("note", "", split.notes),
        ("warning", "yellow", split.warnings),
        ("problem", "red", split.problems),
    ):
        for line in lines[:SHOWN]:
            console.print(Text.assemble("  ", (word, style), f" {printable(line)}"))
        if len(lines) > SHOWN:
            console.print(f"  and {len(lines) - SHOWN} more {word}s (--json lists all)")


_HEADINGS = {
    "segmentation": "share of labelled pixels",
    "pose": "people with this joint labelled",
    "depth": "depth",
}
