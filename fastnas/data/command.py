"""`fastnas data`: checks of datasets before they are trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from fastnas.data.check import Report, SplitReport

SHOWN = 10
"""Lines of problems and sizes that are printed for a split; `--json` has them all."""


@click.group()
def data() -> None:
    """Check datasets."""


@data.command()
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the dataset.")
@click.option("--task", help="segmentation, pose or depth, where the dataset has several.")
@click.option("--all", "decode_all", is_flag=True, help="Decode every sample, not only all headers and 100 samples.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(name: str, root: Path | None, task: str | None, decode_all: bool, as_json: bool) -> None:
    """Report what of the dataset NAME is in --root, what is broken, what is missing and where to get it.

    Exit code 1 when there are no samples, or something is broken.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fastnas.data.check import check_dataset

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:

        def track(indices: Iterable[int], title: str) -> Iterable[int]:
            return progress.track(indices, description=title)

        report = check_dataset(name, root, task, decode=None if decode_all else 100, track=track)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print(report, Console(highlight=False, soft_wrap=True))
    if not report.ok:
        raise SystemExit(1)


def _print(report: Report, console: Console) -> None:
    where = f" in {report.root}" if report.root else ""
    console.print(f"[bold]{report.title}[/bold]{where}: {report.task}", markup=True)
    for split in report.splits:
        _print_split(split, report.task, console)
    if not any(split.samples for split in report.splits) or any(split.absent for split in report.splits):
        console.print("\nexpected files:")
        console.print(report.layout, markup=False)
        console.print(f"get it from {report.source}", markup=False)
    verdict = "[green]ready[/green]" if report.ok else "[red]not ready[/red]"
    console.print(f"\n{verdict}")


def _print_split(split: SplitReport, kind: str, console: Console) -> None:
    if split.absent:
        console.print(f"\n{split.split}: {split.absent}", markup=False, style="dim")
        return
    official = f" (the published dataset has {split.official})" if split.official not in (None, split.samples) else ""
    console.print(f"\n[bold]{split.split}[/bold]: {split.samples} samples{official}")
    sizes = [f"{size} ({count})" for size, count in split.sizes.items()]
    if sizes:
        more = f" and {len(sizes) - SHOWN} other sizes" if len(sizes) > SHOWN else ""
        console.print(f"  sizes: {', '.join(sizes[:SHOWN])}{more}")
    if split.labels:
        console.print(f"  {_HEADINGS[kind]}, in {split.decoded} samples:")
        width = max(map(len, split.labels))
        for label, value in split.labels.items():
            if kind == "depth" and label != "missing":
                console.print(f"    {label:<{width}} {value:8.2f} m", markup=False)
            else:
                console.print(f"    {label:<{width}} {value:8.2%} {'█' * round(40 * value)}", markup=False)
    for problem in split.problems[:SHOWN]:
        console.print(f"  [red]problem[/red] {problem.replace('[', chr(92) + '[')}")
    if len(split.problems) > SHOWN:
        console.print(f"  and {len(split.problems) - SHOWN} more problems (--json lists all)")


_HEADINGS = {
    "segmentation": "share of labelled pixels",
    "pose": "people with this joint labelled",
    "depth": "depth",
}
