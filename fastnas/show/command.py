"""`fastnas show`: what a network is made of, what it costs, and how it looks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from fastnas.jetson.options import RESOLUTION
from fastnas.models.cell_plan import collected_sums, plan_cell
from fastnas.models.genotype import ENCODER_OUTPUTS, Genotype, is_genotype_text
from fastnas.models.operations import OPERATIONS
from fastnas.options import CHANNELS, ENCODER, SEP_REPEATS, USUAL_TASK

if TYPE_CHECKING:
    from fastnas.models.counts import Counts, Difference
    from fastnas.models.network import Network
    from fastnas.models.spec import ModelSpec


@click.command(short_help="Describe, count and draw a network.")
@click.argument("network", metavar="NAME|GENOTYPE|MODEL")
@click.option("--res", "resolution", type=RESOLUTION, default="512", show_default=True, help="Image size to count at.")
@USUAL_TASK
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

    NAME is an architecture (arch0, arch1, arch2, camvid0, camvid1) or a baseline (rflw-mbv2, ...); GENOTYPE is its text
    in the paper's or the public order; MODEL is a .safetensors file, whose own header then decides everything but
    --res.

    \b
    fastnas show arch0 --res 512
    fastnas show '[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]' --draw pictures
    fastnas show model.safetensors --res 360x480 --json
    """
    from fastnas.models.counts import count, public_definition

    name, spec, built, header = _find(network, task, encoder, channels, sep_repeats)
    counts = count(built, resolution)
    differences = public_definition(built, resolution) if spec.genotype else ()
    pictures = _draw(spec.genotype, name, built.encoder.strides, draw) if draw and spec.genotype else []
    if as_json:
        click.echo(json.dumps(_as_json(name, spec, counts, differences, header, pictures), indent=2))
        return
    console = Console(highlight=False)
    if spec.genotype:
        click.echo(spec.genotype)
    console.print(_tree(name, spec, header))
    console.print(_table(counts))
    if differences:
        parameters, multiply_adds = _public(counts, differences)
        console.print(
            f"As the public definition counts: {parameters:,} parameters, {_giga(multiply_adds)}; it also has"
        )
        for difference in differences:
            console.print(f"  {difference.what}: {difference.parameters:,}, {_giga(difference.multiply_adds)}")
    if draw and not spec.genotype:
        console.print(f"{name} is a baseline without a genotype: nothing to draw.")
    for picture in pictures:
        console.print(f"drawn: {picture}")


def _find(
    text: str, task: str, encoder: str, channels: int, sep_repeats: int
) -> tuple[str, ModelSpec, Network, dict[str, Any] | None]:
    """A display name, the description, the network, and the header if it was a file."""
    from fastnas.data.default_task import usual_task
    from fastnas.models.spec import ModelSpec, blueprint

    if text.endswith(".safetensors"):
        from fastnas.models.checkpoint import load_model

        model = load_model(text)
        return Path(text).stem, model.spec, model.network, model.header
    spec = ModelSpec(text, usual_task(task), encoder, channels, sep_repeats)
    return ("genotype" if is_genotype_text(text) else text), spec, blueprint(spec), None


def _tree(name: str, spec: ModelSpec, header: dict[str, Any] | None) -> Tree:
    root = Tree(f"[bold]{name}[/]: {spec.task.kind}, {spec.task.outputs} outputs, encoder {spec.encoder}")
    if header is not None:
        recipe = (header["recipe"] or {}).get("name", "none recorded")
        metrics = ", ".join(f"{key} {value:.4g}" for key, value in (header["metrics"] or {}).items())
        root.add(f"trained: recipe {recipe}; metrics {metrics or 'none recorded'}; fastnas {header['version']}")
    genotype = spec.genotype
    if genotype is None:
        return root
    root.add(f"decoder of {spec.channels} channels, separable operations repeated {spec.sep_repeats} times")
    connections = root.add("connections")
    for index, (a, b) in enumerate(genotype.connections, start=ENCODER_OUTPUTS):
        connections.add(f"{index} = cell({_source(a)}) + cell({_source(b)})")
    connections.add(f"output = concatenation of {', '.join(map(str, collected_sums(genotype.connections)))}")
    cell = root.add("cell")
    live = {0, *(step.target for step in plan_cell(genotype.cell).steps)}
    cell.add(_mark(f"1 = {OPERATIONS[genotype.cell[0]]}(input)", 1 in live))
    for k, (p, q, a, b) in enumerate(genotype.branches, start=1):
        u, v, w = 3 * k - 1, 3 * k, 3 * k + 1
        branch = cell.add(_mark(f"{w} = {u} + {v}", w in live))
        branch.add(_mark(f"{u} = {OPERATIONS[a]}({p or 'input'})", u in live))
        branch.add(_mark(f"{v} = {OPERATIONS[b]}({q or 'input'})", v in live))
    outputs = plan_cell(genotype.cell).outputs
    cell.add(f"output = {' + '.join(map(str, outputs)) or 'zero'}")
    return root


def _source(index: int) -> str:
    return f"encoder {index}" if index < ENCODER_OUTPUTS else str(index)


def _mark(text: str, live: bool) -> str:
    return text if live else f"[dim]{text} (not computed)[/]"


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


def _public(counts: Counts, differences: tuple[Difference, ...]) -> tuple[int, int]:
    """Parameters and multiply-adds with the differences added."""
    return (
        counts.parameters + sum(d.parameters for d in differences),
        counts.multiply_adds + sum(d.multiply_adds for d in differences),
    )


def _giga(value: int) -> str:
    return f"{value / 1e9:.3f} G"


def _as_json(
    name: str,
    spec: ModelSpec,
    counts: Counts,
    differences: tuple[Difference, ...],
    header: dict[str, Any] | None,
    pictures: list[Path],
) -> dict[str, Any]:
    genotype = spec.genotype
    return {
        "name": name,
        "genotype": genotype.to_list() if genotype else None,
        "canonical": genotype.canonical().to_list() if genotype else None,
        "model": spec.to_dict(),
        "counts": asdict(counts),
        "public_definition": {
            **dict(zip(("parameters", "multiply_adds"), _public(counts, differences), strict=True)),
            "differences": [asdict(difference) for difference in differences],
        }
        if genotype
        else None,
        "recipe": header["recipe"] if header else None,
        "metrics": header["metrics"] if header else None,
        "pictures": [str(picture) for picture in pictures],
    }


def _draw(genotype: Genotype | None, name: str, strides: tuple[int, ...], folder: Path) -> list[Path]:
    from fastnas.models.spec import file_name
    from fastnas.show.drawing import draw, save

    assert genotype is not None
    figure = draw(genotype, name if name != "genotype" else str(genotype), strides)
    pictures = [folder / f"{file_name(name)}.{kind}" for kind in ("svg", "png")]
    for picture in pictures:
        save(figure, picture)
    return pictures
