"""`fastnas predict`: images, folders, videos and streams to files with results, and drawings of them."""

import json
import os
import sys
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import click

from fastnas.jetson import shelf
from fastnas.jetson.options import RESOLUTION, EngineOptions, Size, engine_options


@click.command(short_help="Predict images, videos and streams into files.", epilog=shelf.names_help())
@click.argument("network", metavar="NAME|ARTIFACT", type=click.Path())
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="Folder of the results.")
@click.option(
    "--res",
    type=RESOLUTION,
    help="Input of the network; by default the artifact's, or the image's aspect ratio with 512 at most.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Of the engine; by default fp16 in TensorRT, else fp32. TensorRT 11 needs an fp16 file.",
)
@engine_options
@click.option("--mode", default="1280x720@30", show_default=True, help="What to ask a camera for: WIDTHxHEIGHT@FPS.")
@click.option("--frames", type=click.IntRange(1), help="Of each video, camera and stream at most.")
@click.option("--overlays/--no-overlays", default=True, show_default=True, help="Draw the predictions, too.")
@click.option(
    "--compare",
    "others",
    multiple=True,
    metavar="NAME|ARTIFACT",
    help="Predict with this network, too, and draw the images of all side by side; may be repeated. Each has a folder "
    "of its name in DIR.",
)
@click.option("--replace", is_flag=True, help="Remove the results that are in DIR first.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_context
def predict(
    context: click.Context,
    network: str,
    inputs: Tuple[str, ...],
    out: str,
    res: Optional[Size],
    precision: Optional[str],
    engine: EngineOptions,
    mode: str,
    frames: Optional[int],
    overlays: bool,
    others: Tuple[str, ...],
    replace: bool,
    as_json: bool,
) -> None:
    """Predict images, videos and streams into files that programs read, and draw the predictions.

    NAME is a trained network, ARTIFACT the folder of an exported one; on a host a model file, too, which is exported
    once into the cache. INPUT is an image, a video, a folder of both, or a camera or stream as in fastnas camera
    --source; those end with Ctrl-C, or after --frames.

    \b
    masks/NAME.png       class ids, with a palette
    depth/NAME.png       millimetres, 16 bits; 0 is unknown
    joints.json          joints, in COCO's format
    overlays/NAME.jpg    drawings; of a video overlays/NAME.mp4
    predictions.jsonl    a line for each image and frame
    comparisons/NAME.jpg with --compare: an image, and the drawings of all networks

    Frame 12 of ride.mp4 is masks/ride/000012.png. The same command continues where it was interrupted, and leaves out
    what is done. The exit code is 1 if an input could not be read.
    """
    from fastnas.jetson.camera.command import stopping_on_signals
    from fastnas.jetson.camera.sources import parse_mode
    from fastnas.jetson.inference.model import Model
    from fastnas.jetson.inference.predictor import InferenceOptions
    from fastnas.jetson.predict.compare import FOLDER, compare
    from fastnas.jetson.predict.inputs import find_inputs
    from fastnas.jetson.predict.records import Records
    from fastnas.jetson.predict.run import Options, Run, Totals

    def say(line: str) -> None:
        click.echo(line, err=True)

    if others and not overlays:
        raise click.UsageError("--compare shows the drawings: leave out --no-overlays")
    found = find_inputs(inputs)
    options = Options(parse_mode(mode), frames, overlays)
    artifacts = [shelf.open_artifact(name, say) for name in (network,) + others]
    names = [artifact.sidecar.name for artifact in artifacts]
    if len(set(names)) < len(names):
        raise click.UsageError("--compare takes networks of different names, not {}".format(", ".join(names)))
    stopped: List[bool] = []  # has an item once a signal has come
    counts = [given.expected(frames) for given in found]
    length = sum(count or 0 for count in counts) if all(counts) else None
    done: Dict[str, Totals] = {}
    for artifact in artifacts:
        folder = os.path.join(out, artifact.sidecar.name) if others else out
        with ExitStack() as stack:
            model = stack.enter_context(Model([artifact], InferenceOptions(res, res, precision, engine), say))
            header = {
                "network": artifact.sidecar.name,
                "weights": sorted(file.sha256 for file in artifact.sidecar.files),
                "precision": precision,
                "res": res,
                "overlays": overlays,
                "tasks": model.tasks,
            }
            records = stack.enter_context(Records(folder, header, replace))
            advance = stack.enter_context(progress(length))
            run = Run(model, folder, records, options, advance, say, lambda: bool(stopped))
            with stopping_on_signals(lambda: stopped.append(True)):
                totals = done[folder] = run.predict(found)
        if not as_json:
            click.echo(summary(totals.to_dict(), folder))
        if stopped:
            break
    compared = compare(out, names, found) if others else 0
    if as_json:
        each = [dict(totals.to_dict(), out=folder) for folder, totals in done.items()]
        click.echo(json.dumps({"networks": each, "compared": compared, "out": out} if others else each[0]))
    elif others:
        click.echo("{} comparisons into {}".format(compared, os.path.join(out, FOLDER)))
    if stopped and not all(given.live for given in found):
        raise click.Abort()
    context.exit(1 if any(totals.failed for totals in done.values()) else 0)


@contextmanager
def progress(length: Optional[int]) -> Iterator[Callable[[int], Any]]:
    """A progress bar with the time left, on a terminal; none where the length is not known.

    Yields:
        What is called with a number of frames that are done.
    """
    if length is None:
        yield lambda count: None
        return
    with click.progressbar(length=length, label="predicting", file=sys.stderr) as bar:
        yield bar.update


def summary(totals: Dict[str, Any], out: str) -> str:
    """The last line of the command."""
    line = "{images} images and {frames} video frames into {out}".format(out=out, **totals)
    if totals["inference_ms"] is not None:
        line += ", {inference_ms:.1f} ms each".format(**totals)
    if totals["skipped"]:
        line += "; done before: {skipped}".format(**totals)
    return line + ("; not readable: {}".format(len(totals["failed"])) if totals["failed"] else "")
