"""`fastnas import`: weights that other code has trained become a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastnas.jetson.files import expand_user
from fastnas.options import DATA_TASK, NETWORK

if TYPE_CHECKING:
    from fastnas.tasks import Task

USUAL = {
    1: ("nyud", "the depth of NYUDv2"),
    11: ("camvid", "the 11 classes of CamVid"),
    16: ("mpii", "the 16 joints of MPII"),
    19: ("cityscapes", "the 19 classes of CityScapes"),
    21: ("voc", "the 21 classes of Pascal VOC"),
}
"""Outputs of a network -> the dataset that has as many, and what they are."""


@click.command("import", short_help="Write a checkpoint of the paper's public code as a model file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--as",
    "architecture",
    required=True,
    type=NETWORK,
    metavar="NAME|GENOTYPE",
    help="The architecture that it was trained as: the file does not say.",
)
@click.option("--data", help="Dataset whose classes, joints or depth it predicts.  [default: by the number of outputs]")
@click.option("--root", type=click.Path(path_type=Path), metavar="DIR", help="Folder of that dataset.")
@DATA_TASK
@click.option(
    "--out", type=click.Path(path_type=Path), help="The model file.  [default: FILE with the ending .safetensors]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_weights(
    file: Path,
    architecture: str,
    data: str | None,
    root: Path | None,
    task: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write a checkpoint of the paper's public code as a model file.

    FILE is a dictionary of tensors as torch.save writes it, with the names of nas-segm-pytorch: encoder.layer1 and so
    on. Nothing else in it is unpickled. The model file is for every other command: eval, export, predict, train --init.

    \b
    fastnas import arch0_segm.pth --as arch0
    fastnas import arch2.pth --as arch2 --data folder --root MINE
    """
    from fastnas.importing.public import import_public, outputs_of, read_public
    from fastnas.models.checkpoint import save_model

    path = expand_user(file)
    target = expand_user(out) if out else path.with_suffix(".safetensors")
    if target.suffix != ".safetensors":
        raise click.BadParameter(f"{target}: a model file ends in .safetensors", param_hint="--out")
    if target.exists() and out is None:
        raise click.UsageError(f"there is a {target} already: name the model file with --out")
    state = read_public(path)
    meant = _task(outputs_of(state, path), data, root, task)
    found = import_public(state, architecture, meant, path)
    save_model(target, found.model.network, found.model.spec, recipe=found.model.recipe)
    if as_json:
        click.echo(json.dumps({"model": str(target), "tensors": len(state), "unused": found.unused}, indent=2))
        return
    unused = sum(map(len, found.unused.values()))
    click.echo(f"{target}: {len(state) - unused} of {len(state)} tensors; {meant.kind}, outputs: {meant.outputs}")
    for group, tensors in found.unused.items():
        click.echo(f"unused: {group} ({len(tensors)} tensors, {tensors[0]} the first)")


def _task(outputs: int, data: str | None, root: Path | None, kind: str | None) -> Task:
    """The task of the network in the file: that of the dataset that was named, or of the usual one."""
    from importlib import import_module

    from fastnas.data import DataName

    if data is not None:
        task = DataName.parse(data).open_at(root, "train", kind).task
    elif outputs in USUAL:
        task = import_module(f"fastnas.data.formats.{USUAL[outputs][0]}").TASK
    else:
        known = ", ".join(f"{count} is {what}" for count, (_, what) in USUAL.items())
        raise click.UsageError(f"the network has {outputs} outputs: name their dataset with --data, --root ({known})")
    if task.outputs != outputs:
        raise click.UsageError(f"the network has {outputs} outputs, but {data} has {task.outputs}")
    return task
