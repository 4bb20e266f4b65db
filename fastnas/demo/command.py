"""`fastnas demo`: the networks of the paper, then everything from a search to the camera, with a page of results."""

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
    help="Folder for all results; a second run continues the first.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(6, 1440),
    default=10,
    show_default=True,
    help="Duration on two idle cores, approximately; changes search and training.",
)
def demo(out: Path, minutes: float) -> None:
    """Run everything that is here, end to end, in minutes.

    Counts and draws the networks of the paper's Table 1, and shows what trained networks find in a photo; then searches
    a network on generated scenes, trains it for segmentation, depth and pose, exports and benchmarks it, runs it on a
    clip, and writes the page index.html. Every step is a command that is printed first; finished ones are kept: after
    Ctrl-C, run the demo again to continue.
    """
    from fastnas.console import PlainConsole
    from fastnas.demo.page import write_page
    from fastnas.demo.scenes import write_clip, write_images, write_photo
    from fastnas.demo.stages import PHOTO, Sizes, plan, run
    from fastnas.files import locked

    console, sizes = PlainConsole(), Sizes.of(minutes)
    with locked(out, "running the demo"):
        _paper(out, console)
        with console.status("writing images and a clip of generated scenes"):
            write_images(out / "calibration", sizes.calibration)
            write_clip(out / "clip.mp4", sizes.frames)
            write_photo(out / PHOTO)
        run(plan(out, sizes), console)
        page = write_page(out)
    console.print(f"\nAll results on one page: {page}", soft_wrap=True)


def _paper(out: Path, console: Console) -> None:
    """Print the counts of the paper's networks beside the published ones, and draw the architectures of the zoo."""
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
                raise FastnasError(f"the logits of {name} are NaN or infinite")
            output, _ = counts.output
            ours = (f"{counts.parameters / 1e6:.3f}", f"{counts.multiply_adds / 1e9:.3f}", f"{output}")
            published = (f"{paper.parameters}", f"{paper.multiply_adds}", f"{paper.output}")
            table.add_row(name, *(cell for pair in zip(ours, published, strict=True) for cell in pair))
    console.print(table)
    for name, genotype in ZOO.items():
        figure = draw(genotype, name)
        for ending in ("svg", "png"):
            save(figure, out / f"{name}.{ending}")
