"""`fastnas demo`: build the paper's networks, run them on generated scenes, count them, draw them."""

from __future__ import annotations

from pathlib import Path

import click

from fastnas.errors import FastnasError


@click.command(short_help="Run everything that is here, end to end, in minutes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="runs/demo",
    show_default=True,
    help="Folder for the pictures.",
)
def demo(out: Path) -> None:
    """Run everything that is here, end to end, in minutes.

    Builds the networks of the paper's Table 1, runs each on a batch of generated scenes, prints their counts beside the
    published ones, and draws the paper's three architectures.
    """
    import torch
    from rich.console import Console
    from rich.table import Table

    from fastnas.counts import count
    from fastnas.data import open_dataset
    from fastnas.drawing import draw, save
    from fastnas.models import ModelSpec, build
    from fastnas.published import TABLE_1
    from fastnas.tasks.usual import usual_task
    from fastnas.zoo import ZOO

    console = Console(highlight=False)
    scenes = open_dataset("synthetic")
    batch = torch.stack([scenes[i]["image"] for i in range(2)]).float() / 255
    table = Table(title="512x512 images, 21 classes; 'paper' is its Table 1", title_justify="left", title_style="")
    for column in ("network", "params M", "paper", "MAdds G", "paper", "output", "paper"):
        table.add_column(column, justify="left" if column == "network" else "right")
    with console.status("building, counting and running"):
        for name, paper in TABLE_1.items():
            network = build(ModelSpec(name, usual_task("segmentation"))).eval()
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
    console.print(f"The three architectures are drawn in {out}. Next: fastnas show arch0 --res 512")
