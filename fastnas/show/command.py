"""`fastnas show`: the structure, the cost and a drawing of a network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from fastnas import shelf
from fastnas.console import PlainConsole, printable
from fastnas.jetson.options import RESOLUTION
from fastnas.models.cell_plan import Step, collected_sums, plan_cell
from fastnas.models.genotype import ENCODER_OUTPUTS, Genotype
from fastnas.models.operations import OPERATIONS
from fastnas.options import CHANNELS, DEFAULT_TASK, ENCODER, NETWORK, SEP_REPEATS
from fastnas.tasks import tasks_of

if TYPE_CHECKING:
    from fastnas.models.checkpoint import Model
    from fastnas.models.counts import Counts, PublicCounts


@click.command(short_help="Describe, count and draw a network.", epilog=shelf.names_help())
@click.argument("network", metavar="NAME|GENOTYPE|MODEL", type=NETWORK)
@click.option("--res", "resolution", type=RESOLUTION, default="512", show_default=True, help="Image size to count at.")
@DEFAULT_TASK
@ENCODER
@CHANNELS
@SEP_REPEATS
@click.option(
    "--draw",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write NAME.svg and NAME.png into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(
    network: str,
    resolution: tuple[int, int],
    task: str,
    encoder: str,
    channels: int,
    sep_repeats: int,
    draw: Path | None,
    as_json: bool,
) -> None:
    """Describe, count and draw a network.

    NAME is a trained model (street, ...), an architecture (arch0 to arch2, camvid0 to camvid4) or a baseline
    (rflw-mbv2, ...); GENOTYPE is its text in the paper's or the public order; MODEL is a .safetensors file. The header
    of a model decides everything but --res.

    \b
    fastnas show arch0 --res 512
    fastnas show '[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]' --draw drawings
    fastnas show model.safetensors --res 360x480 --json
    """
    from fastnas.data import default_task
    from fastnas.models.checkpoint import open_model
    from fastnas.models.counts import count, count_public

    model = open_model(network, default_task(task), encoder, channels, sep_repeats, encoder_weights=None)
    genotype = model.spec.genotype
    counts = count(model.network, resolution)
    public = count_public(model.network, counts) if genotype else None
    drawings = _draw(genotype, model, draw) if draw and genotype else []
    if as_json:
        click.echo(json.dumps(_as_json(model, genotype, counts, public, drawings), indent=2))
        return
    console = PlainConsole()
    if genotype:
        click.echo(genotype)
    console.print(_tree(model, genotype))
    console.print(_table(counts))
    if public and public.differences:
        console.print(
            f"As the public definition counts: {public.parameters:,} parameters, {_giga(public.multiply_adds)}; "
            "it also has"
        )
        for difference in public.differences:
            console.print(f"  {difference.what}: {difference.parameters:,}, {_giga(difference.multiply_adds)}")
    if draw and not genotype:
        console.print(f"{model.name} is a baseline without a genotype: nothing to draw.")
    for path in drawings:
        console.print(f"drawn: {path}")


def _tree(model: Model, genotype: Genotype | None) -> Tree:
    spec = model.spec
    tasks = "; ".join(f"{task.kind}, {task.outputs} outputs" for task in tasks_of(spec.task))
    about = f": {tasks}, encoder {spec.encoder}"
    root = Tree(Text.assemble((printable(model.name), "bold"), about))
    if model.header:
        metrics = ", ".join(f"{key} {value:.4g}" for key, value in model.metrics.items())
        root.add(
            f"trained: recipe {model.recipe.get('name', 'none recorded')}; metrics {metrics or 'none recorded'}; "
            f"fastnas {model.header['version']}"
        )
    if genotype is None:
        return root
    root.add(f"decoder of {spec.channels} channels, separable operations repeated {spec.sep_repeats} times")
    connections = root.add("connections")
    for index, pair in enumerate(genotype.connections, start=ENCODER_OUTPUTS):
        a, b = (f"encoder {i}" if i < ENCODER_OUTPUTS else str(i) for i in pair)
        connections.add(f"{index} = cell({a}) + cell({b})")
    connections.add(f"output = concatenation of {', '.join(map(str, collected_sums(genotype.connections)))}")
    plan = plan_cell(genotype.cell)
    cell = root.add("cell")

    def line(step: Step) -> Text:
        names = [str(source) if source else "input" for source in step.sources]
        value = " + ".join(names) if step.operation is None else f"{OPERATIONS[step.operation]}({names[0]})"
        text = f"{step.target} = {value}"
        return Text(text) if step.target in plan.computed else Text(f"{text} (not computed)", style="dim")

    first, *branches = plan.named
    cell.add(line(first))
    for left, right, total in zip(*[iter(branches)] * 3, strict=True):
        branch = cell.add(line(total))
        branch.add(line(left))
        branch.add(line(right))
    cell.add(f"output = {' + '.join(map(str, plan.outputs)) or 'zero'}")
    return root


def _table(counts: Counts) -> Table:
    table = Table(
        title=f"{counts.resolution[0]}x{counts.resolution[1]} image, {counts.output[0]}x{counts.output[1]} output",
        title_justify="left",
        title_style="",
    )
    table.add_column("part")
    table.add_column("parameters", justify="right")
    table.add_column("multiply-adds", justify="right")
    for part in counts.parts:
        indent = "  " if "." in part.name else ""
        table.add_row(indent + part.name, f"{part.parameters:,}", _giga(part.multiply_adds))
    table.add_section()
    table.add_row("all", f"{counts.parameters:,}", _giga(counts.multiply_adds), style="bold")
    return table


def _giga(value: int) -> str:
    return f"{value / 1e9:.3f} G"


def _as_json(
    model: Model, genotype: Genotype | None, counts: Counts, public: PublicCounts | None, drawings: list[Path]
) -> dict[str, Any]:
    return {
        "name": model.name,
        "genotype": genotype.to_list() if genotype else None,
        "canonical": genotype.canonical().to_list() if genotype else None,
        "model": model.spec.to_dict(),
        "counts": asdict(counts),
        "public_definition": asdict(public) if public else None,
        "recipe": model.recipe or None,
        "metrics": model.metrics or None,
        "drawings": [str(path) for path in drawings],
    }


def _draw(genotype: Genotype, model: Model, folder: Path) -> list[Path]:
    from fastnas.show.drawing import draw, save

    figure = draw(genotype, model.name if model.header else model.spec.architecture, model.network.encoder.strides)
    paths = [folder / f"{model.name}.{kind}" for kind in ("svg", "png")]
    for path in paths:
        save(figure, path)
    return paths
