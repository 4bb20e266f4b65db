"""`fastnas export`: a network becomes an artifact: optimised ONNX files, compared to it, and their sidecar."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from fastnas import shelf
from fastnas.console import PlainConsole
from fastnas.data import default_task
from fastnas.jetson.options import DLA, RESOLUTION, WORKSPACE, EngineOptions
from fastnas.options import CHANNELS, DEFAULT_TASK, ENCODER, NETWORK, SEP_REPEATS

if TYPE_CHECKING:
    from fastnas.deploy.export import Exported


@click.command(short_help="Write a network as an optimised, checked ONNX artifact.", epilog=shelf.names_help())
@click.argument("network", metavar="NAME|MODEL|GENOTYPE", type=NETWORK)
@click.option(
    "--res",
    "resolution",
    type=RESOLUTION,
    show_default="the size that the model was trained for, or 512",
    help="Image size to check at; multiples of 32. The file takes every such size.",
)
@DEFAULT_TASK
@ENCODER
@click.option(
    "--encoder-weights",
    default="none",
    show_default=True,
    help="Weights of the backbone of a network that is not a model file: imagenet, none, a file, or a trained model's.",
)
@CHANNELS
@SEP_REPEATS
@click.option(
    "--input",
    "layout",
    type=click.Choice(["floats", "bytes"]),
    default="floats",
    show_default=True,
    help="Normalised floats [1, 3, H, W], or raw pixels [1, H, W, 3] (ONNX Runtime alone).",
)
@click.option(
    "--head",
    "heads",
    type=click.Choice(["plain", "upsampled", "labels", "small-labels", "peaks"]),
    multiple=True,
    show_default="plain",
    help="Output at the decoder's size, at the image's, class ids of the image's size or the decoder's, or the peaks "
    "of pose's heatmaps; several for several tasks.",
)
@click.option("--fp16", is_flag=True, help="Also a typed fp16 file, checked with exact fp16 arithmetic.")
@click.option("--compact", is_flag=True, help="Store the fp32 file's weights as fp16: half its size, as fast.")
@click.option("--int8", is_flag=True, help="Also INT8 files: for ONNX Runtime, TensorRT, and with --fp16 TensorRT 11.")
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of images such as the camera will see; INT8 needs some tens of them.",
)
@click.option("--tensorrt", is_flag=True, help="Also build the engines of this machine's TensorRT into its cache.")
@WORKSPACE
@DLA
@click.option("--name", help="Name of the artifact; by default that of the network, or of its run's folder.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="artifacts",
    show_default=True,
    help="Folder that holds the artifacts.",
)
@click.option("--verbose", is_flag=True, help="Show what each rewrite of the graph did, and NVIDIA's commands.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(
    network: str,
    resolution: tuple[int, int] | None,
    task: str,
    encoder: str,
    encoder_weights: str,
    channels: int,
    sep_repeats: int,
    layout: str,
    heads: tuple[Any, ...],
    fp16: bool,
    compact: bool,
    int8: bool,
    calibrate: Path | None,
    tensorrt: bool,
    workspace_mb: int,
    dla: int | None,
    name: str | None,
    out: Path,
    verbose: bool,
    as_json: bool,
) -> None:
    """Write a network as an optimised, checked ONNX artifact.

    NAME is a trained model (street, ...), an architecture (arch0 to arch2, camvid0 to camvid4) or a baseline
    (rflw-mbv2, ...); MODEL is a .safetensors file, whose own header then decides the network; GENOTYPE is its text.

    \b
    fastnas export street --fp16
    fastnas export arch0 --fp16
    fastnas export model.safetensors --int8 --calibrate images/
    fastnas export model.safetensors --res 352x480 --head labels
    fastnas export trio --head labels --head peaks
    """
    from fastnas.deploy.artifacts import export_model, usual_size
    from fastnas.deploy.export import Options
    from fastnas.models.checkpoint import open_model

    if tensorrt and layout == "bytes":
        raise click.UsageError("--tensorrt needs --input floats: bytes are for ONNX Runtime alone")
    if dla is not None and not tensorrt:
        raise click.UsageError("--dla is for --tensorrt, which builds for it; the ONNX files are the same")
    model = open_model(network, default_task(task), encoder, channels, sep_repeats, encoder_weights)
    resolution = resolution or usual_size(model)
    options = Options(resolution, "NHWC" if layout == "bytes" else "NCHW", heads, fp16, int8, calibrate, compact)

    def progress(line: str) -> None:
        if not as_json:
            click.echo(line, err=True)

    result = export_model(model, out, options, _file_name(name or model.name), progress)
    engine = EngineOptions("tensorrt", workspace_mb=workspace_mb, dla=dla)
    if tensorrt:
        _build_engines(result, resolution, engine, progress)
    if as_json:
        click.echo(json.dumps(_as_json(result), indent=2))
    else:
        _print(result, resolution)
        if verbose:
            _print_details(result, resolution, engine)
    if not model.recipe:
        click.echo(f"warning: {model.name} has no trained weights; only its latency means something", err=True)


def _file_name(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise click.BadParameter(f"{name!r} is not the name of a folder", param_hint="--name")
    return name


def _build_engines(
    result: Exported, resolution: tuple[int, int], options: EngineOptions, progress: Callable[[str], None]
) -> None:
    """Build what `fastnas jetson-bench` would build on its first use; a DLA has fp16 alone."""
    from fastnas.jetson.engine.opening import open_engine, precisions
    from fastnas.jetson.errors import Unsupported
    from fastnas.jetson.sidecar import load

    artifact = load(str(result.folder))
    for precision in precisions(artifact, "tensorrt") if options.dla is None else ("fp16",):
        try:
            open_engine(artifact, resolution, precision, options, progress).close()
        except Unsupported as error:  # INT8 on a board without such instructions, or fp16 without a file on TensorRT 11
            progress(f"no engine in {precision}: {error}")


def _print_details(result: Exported, resolution: tuple[int, int], options: EngineOptions) -> None:
    from fastnas.deploy import trtexec
    from fastnas.jetson.sidecar import Artifact

    console = PlainConsole(file=sys.stdout)
    console.print(_effects(result))
    for line in trtexec.commands(Artifact(str(result.folder), result.sidecar), resolution, options):
        console.print(line, soft_wrap=True)


def _print(result: Exported, resolution: tuple[int, int]) -> None:
    console = PlainConsole(file=sys.stdout)
    for file in result.sidecar.files:
        found = result.sidecar.parity[file.path]
        kept = f", {len(found['kept_in_fp32'])} operators in fp32" if found["kept_in_fp32"] else ""
        parities = "; ".join(
            f"{f'{name}: ' if len(found['outputs']) > 1 else ''}largest error {parity['largest']:.1e}, "
            f"mean {parity['mean']:.1e}, arg-max equal {parity['agreement']:.2%}"
            for name, parity in found["outputs"].items()
        )
        console.print(
            f"{result.folder / file.path}: {file.precision} for {' and '.join(file.targets)}, "
            f"{file.bytes / 1e6:.1f} MB; {parities}{kept}",
            soft_wrap=True,
        )
    console.print(
        f"{result.operators} operators, {result.multiply_adds / 1e9:.3f} G multiply-adds at "
        f"{resolution[0]}x{resolution[1]}; exported in {result.seconds:.1f} s"
    )


def _effects(result: Exported) -> Table:
    table = Table(title="Rewrites (multiply-adds of a 512x512 image)", title_justify="left", title_style="")
    table.add_column("rewrite")
    table.add_column("operators", justify="right")
    table.add_column("multiply-adds", justify="right")
    for effect in result.effects:
        before, after = effect.multiply_adds
        change = f" ({after / before - 1:+.1%})" if after != before else ""
        operators = " → ".join(dict.fromkeys(map(str, effect.operators)))
        table.add_row(effect.rewrite.replace("_", " "), operators, f"{after / 1e9:.3f} G{change}")
    return table


def _as_json(result: Exported) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "sidecar": result.sidecar.to_dict(),
        "rewrites": [
            {"name": effect.rewrite, "operators": effect.operators, "multiply_adds": effect.multiply_adds}
            for effect in result.effects
        ],
        "operators": result.operators,
        "multiply_adds": result.multiply_adds,
        "seconds": result.seconds,
    }
