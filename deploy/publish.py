"""For maintainers: put a trained model on the shelf, `fastnas/shelf.py`, and for boards into `jetson/artifacts`.

    python -m fastnas.deploy.publish street runs/street/model.safetensors --res 352x480 \\
        --about "Street scenes: CamVid's 11 classes." --data "CamVid, IDD Lite" --artifact

The model file is written again with fp16 weights and the header that it has, and `weights/index.json` gets its entry:
checksum, size, and the metrics of the header that are asked for. With `--artifact` the compact ONNX file and its
sidecar go into the device half. docs/models.md is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from fastnas import shelf
from fastnas.deploy.artifacts import export_model
from fastnas.deploy.export import Options, fitting
from fastnas.errors import FastnasError
from fastnas.jetson import shelf as device_shelf
from fastnas.jetson.files import sha256_of, write_text
from fastnas.jetson.options import RESOLUTION
from fastnas.models.checkpoint import Model, load_model, save_model
from fastnas.tasks.registry import head_for


def publish(
    name: str, source: Path, about: str, data: str, size: tuple[int, int], metrics: tuple[str, ...] = ()
) -> shelf.Entry:
    """Put a model file on the shelf, replacing one of that name.

    Args:
        name: on the shelf.
        source: the model file.
        about: one sentence: what it predicts.
        data: what it was trained on.
        size: H, W of the images that it was measured on.
        metrics: names of those that the index lists, the ranking one first; by default that one alone.

    Raises:
        FastnasError: the file is no model, or its header has no such metric.
    """
    model = load_model(source)
    names = metrics or (head_for(model.spec.task).score(model.metrics).name,)
    if missing := [each for each in names if each not in model.metrics]:
        raise FastnasError(f"{source} has no metric {missing[0]}; it has {', '.join(model.metrics)}")
    target = shelf.folder() / f"{name}{shelf.SUFFIX}"
    save_model(target, model.network, model.spec, recipe=model.recipe or None, metrics=model.metrics, half=True)
    entry = shelf.Entry(
        name=name,
        sha256=sha256_of(str(target)),
        bytes=target.stat().st_size,
        about=about,
        data=data,
        metrics={each: round(model.metrics[each], 4) for each in names},
        input_size=size,
    )
    listed = {**shelf.entries(), name: entry}
    text = json.dumps({each: listed[each].to_dict() for each in listed}, indent=1, ensure_ascii=False)
    write_text(shelf.folder() / shelf.INDEX, text + "\n")
    return entry


def publish_artifact(model: Model, size: tuple[int, int]) -> Path:
    """Write a model's compact artifact into the device half, replacing one of that name; `size` is that of the checks.

    Raises:
        FastnasError: it cannot be exported.
    """
    return export_model(model, Path(device_shelf.folder()), Options(fitting(size), compact=True)).folder


def row(entry: shelf.Entry) -> str:
    """The row of the table in docs/models.md."""
    metrics = ", ".join(f"{name} {value:g}" for name, value in entry.metrics.items())
    size = "{}x{}".format(*entry.input_size)
    return f"| `{entry.name}` | {entry.about} | {entry.data} | {metrics} | {size} | {entry.bytes / 1e6:.1f} MB |"


@click.command()
@click.argument("name")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--about", required=True, help="One sentence: what it predicts.")
@click.option("--data", required=True, help="What it was trained on.")
@click.option("--res", "size", required=True, type=RESOLUTION, help="Images that it was measured on.")
@click.option("--metric", "metrics", multiple=True, help="Of the header, for the index; the ranking one first.")
@click.option("--artifact", is_flag=True, help="Also for boards.")
def main(
    name: str, model: Path, about: str, data: str, size: tuple[int, int], metrics: tuple[str, ...], artifact: bool
) -> None:
    """Put a trained model on the shelf."""
    entry = publish(name, model, about, data, size, metrics)
    click.echo(f"{shelf.folder() / entry.file}, for the table in docs/models.md:\n{row(entry)}")
    if artifact:
        click.echo(publish_artifact(load_model(shelf.folder() / entry.file), size))


if __name__ == "__main__":
    try:
        main()
    except FastnasError as error:
        raise SystemExit(f"Error: {error}") from error
