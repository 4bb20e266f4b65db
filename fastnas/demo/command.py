"""`fastnas demo`: the paper's networks, then the whole way from a search to a camera, told on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastnas.errors import FastnasError

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Run everything that is here, end to end, in minutes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="runs/demo",
    show_default=True,
    help="Folder for all that it makes; a second run goes on where the first ended.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(6, 1440),
    default=10,
    show_default=True,
    help="About how long on two idle cores: what search and training get.",
)
def demo(out: Path, minutes: float) -> None:
    """Run everything that is here, end to end, in minutes.

    Counts and draws the networks of the paper's Table 1; then searches a network on generated scenes, trains it for
    segmentation, depth and pose, exports, measures and runs it on a clip, and tells that on one page, index.html. Every
    step is a command that is printed first, and a finished one is kept: after Ctrl-C, run it again to go on.
    """
    from rich.console import Console

    from fastnas.demo.page import write_page
    from fastnas.demo.stages import Sizes, plan, run, write_scenes
    from fastnas.files import locked

    console, sizes = Console(highlight=False), Sizes.of(minutes)
    with locked(out, "running the demo"):
        _paper(out, console)
        with console.status("writing pictures and a clip of the scenes"):
            write_scenes(out, sizes)
        run(plan(out, sizes), console)
        page = write_page(out)
    console.print(f"\nThe whole story, with pictures: {page}", soft_wrap=True)


def _paper(out: Path, console: Console) -> None:
    """The paper's networks: counts beside the published ones, and drawings."""
    import torch
    from rich.table import Table

    from fastnas.data import default_task, open_dataset
    from fastnas.models.counts import count
    from fastnas.models.spec import ModelSpec, build
    from fastnas.models.zoo import ZOO
    from fastnas.published import TABLE_1
    from fastnas.show.drawing import draw, save

    scenes = open_dataset("synthetic")
    batch = torch.stack([scenes[i]["image"] for i in range(2)]).float() / 255
    table = Table(title="512x512 images, 21 classes; 'paper' is its Table 1", title_justify="left", title_style="")
    for column in ("network", "params M", "paper", "MAdds G", "paper", "output", "paper"):
        table.add_column(column, justify="left" if column == "network" else "right")
    with console.status("building, counting and running"):
        for name, paper in TABLE_1.items():
            network = build(ModelSpec(name, default_task("segmentation"))).eval()
            counts = count(network, (512, 512))
            with torch.inference_mode():
                logits = network(batch)
            if not logits.isfinite().all():
                raise FastnasError(f"{name} gives numbers that are not finite")
            table.add_row(
                name,
                f"{counts.parameters / 1e6:.3f}",
                f"{paper.parameters}",
                f"{counts.multiply_adds / 1e9:.3f}",
                f"{paper.multiply_adds}",
                f"{counts.output[0]}",
                f"{paper.output}",
            )
    console.print(table)
    for name, genotype in ZOO.items():
        figure = draw(genotype, name)
        for ending in ("svg", "png"):
            save(figure, out / f"{name}.{ending}")
