"""`fastnas camera`: live segmentation, depth and pose, on a web page, in a window or into a video file."""

import os
import signal
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import click

from fastnas.jetson.options import RESOLUTION, engine_options

SOURCES = """\b
What --source takes:
  /dev/video0, or 0        a USB or other V4L2 camera
  csi://0                  a camera of the CSI connector
  rtsp://USER:PW@HOST/...  a network camera
  ride.mp4                 a video file
  pictures/                a folder of pictures
  test://                  a moving test pattern"""


def _numbers(text: str, count: int, example: str) -> List[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise click.BadParameter("{!r} is not like {}".format(text, example))
    return numbers


@click.command(epilog=SOURCES, short_help="Show live segmentation, depth or pose of a camera.")
@click.argument("artifacts", nargs=-1, required=True, metavar="ARTIFACT...", type=click.Path())
@click.option("--source", default="/dev/video0", show_default=True, help="Where the pictures come from; see below.")
@click.option("--mode", default="1280x720@30", show_default=True, help="What to ask a camera for: WIDTHxHEIGHT@FPS.")
@click.option("--loop", is_flag=True, help="Play a file again and again.")
@click.option("--every-frame", is_flag=True, help="Drop no picture of a file; as fast or slow as the networks are.")
@click.option("--res", type=RESOLUTION, help="Networks' input; by default the camera's shape, 512 at the longest.")
@click.option("--pose-res", type=RESOLUTION, help="Input of a pose network; by default 256x256.")
@click.option("--box", metavar="X,Y,W,H", help="Where the person of a pose network is at first, in pixels.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Of the engines; by default fp16 in TensorRT, else fp32. TensorRT 11 needs an fp16 file.",
)
@engine_options
@click.option("--alpha", default=0.5, show_default=True, type=click.FloatRange(0, 1), help="Strength of the overlay.")
@click.option("--web/--no-web", default=True, show_default=True, help="Serve the live page.")
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Where to serve it. Any other than this machine's own makes a token that viewers need; it is printed once.",
)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--viewers", default=8, show_default=True, type=click.IntRange(1, 100), help="Most viewers at once.")
@click.option("--window", is_flag=True, help="Show a window too; q or Esc ends.")
@click.option("--out", type=click.Path(dir_okay=False), help="Record all into a video file (.mp4, .avi, .mkv).")
@click.option(
    "--captures",
    default="captures",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder of the snapshots and recordings that are made on the page.",
)
def camera(artifacts: Tuple[str, ...], source: str, mode: str, box: Optional[str], **options: Any) -> None:
    """Show live segmentation, depth or pose of a camera.

    Several artifacts, one of each task, work on the same pictures. Pictures that come while the networks are busy are
    dropped, so that what you see is the present. The page is at http://localhost:8080; Ctrl-C ends.
    """
    from functools import partial

    from fastnas.jetson import sidecar
    from fastnas.jetson.camera.opencv import open_source
    from fastnas.jetson.camera.sources import parse_address, parse_mode
    from fastnas.jetson.camera.watchdog import Watch
    from fastnas.jetson.inference.predictions import Box
    from fastnas.jetson.inference.predictor import InferenceOptions, by_task

    if not (options["web"] or options["window"] or options["out"]):
        raise click.UsageError("--no-web without --window or --out would show nothing")
    corner = _numbers(box, 4, "100,50,80,200") if box else None
    choice = InferenceOptions(
        size=options["res"],
        pose_size=options["pose_res"],
        precision=options["precision"],
        engine=options["engine"],
        box=Box(corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[3]) if corner else None,
    )
    found = by_task([sidecar.load(path) for path in artifacts])
    address, wanted = parse_address(source), parse_mode(mode)
    if address.live and (options["loop"] or options["every_frame"]):
        raise click.UsageError("--loop and --every-frame are for files and folders, not for {}".format(address))
    reopen = Watch(partial(open_source, address, wanted)) if address.hangs else partial(open_source, address, wanted)
    opened = [reopen()]  # here, so that a wrong source is said before any engine is built
    try:
        _run(found, choice, address.live, opened, reopen, options)
    finally:
        for unused in opened:
            unused.close()


def _run(
    found: Dict[str, Any],
    choice: Any,
    live: bool,
    opened: List[Any],
    reopen: Callable[[], Any],
    options: Dict[str, Any],
) -> None:
    """Put the parts together, run until the end or a signal, and say what it came to.

    `opened` holds the first source; the pipeline takes it out, and closes it.
    """
    from fastnas.jetson.camera.controls import Controls
    from fastnas.jetson.camera.pipeline import Feed, Pipeline, Sink
    from fastnas.jetson.camera.recorder import Captures, Recording, recover
    from fastnas.jetson.camera.stats import Figures
    from fastnas.jetson.camera.web.broadcast import Broadcast
    from fastnas.jetson.camera.web.server import Server, Site
    from fastnas.jetson.inference.draw import draw
    from fastnas.jetson.inference.predictor import Predictor

    tasks = {kind: artifact.sidecar.task for kind, artifact in found.items()}
    figures, controls = Figures(), Controls(list(found), options["alpha"])
    name = " + ".join(artifact.sidecar.name for artifact in found.values())

    def say(line: str) -> None:
        figures.message = line
        click.echo(line, err=True)

    first = opened[0]

    say("source: {} at {:g} FPS".format(first.pipeline, first.fps))
    recover(options["captures"], say)
    sinks: List[Sink] = [Captures(options["captures"], first.fps, controls, say)]
    if options["out"]:
        recover(os.path.dirname(options["out"]) or ".", say)
        sinks.append(Recording(options["out"], first.fps, options["every_frame"], say))
    with ExitStack() as stack:
        if options["web"]:
            broadcast = Broadcast(options["viewers"])
            sinks.append(broadcast)
            server = Server(
                options["address"],
                options["port"],
                lambda guard: Site(name, broadcast, controls, figures, guard),
            )
            stack.enter_context(server)
            click.echo("watch: {}".format(server.url()), err=True)
        window = None
        if options["window"]:
            from fastnas.jetson.camera.window import Window

            window = Window("fastnas: " + name, controls)
            sinks.append(window)
            stack.callback(window.destroy)
        pipeline = Pipeline(
            Feed(lambda: opened.pop() if opened else reopen(), live, options["every_frame"], options["loop"]),
            lambda size: Predictor(found, size, choice, say),
            lambda frame, p, alpha: draw(frame, tasks, p.segmentation, p.depth, p.pose, p.box, alpha),
            sinks,
            controls,
            figures,
            say,
        )
        with stopping_on_signals(pipeline.stop):
            pipeline.start()
            while not pipeline.wait(0.02 if window else 0.2):
                if window is not None and not window.refresh():
                    pipeline.stop()
            pipeline.join()
    click.echo(summary(figures.snapshot()), err=True)


def summary(figures: Dict[str, Any]) -> str:
    """The last line: what it came to."""
    latency = figures["latency_ms"]
    return "{shown} pictures shown, {dropped} of {captured} dropped, {corrupt} corrupt{latency}".format(
        latency="; at the end {:.1f} FPS, latency {:.0f} ms, p99 {:.0f} ms".format(
            figures["shown_fps"], latency["p50"], latency["p99"]
        )
        if latency
        else "",
        **{key: figures[key] for key in ("shown", "dropped", "captured", "corrupt")},
    )


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """While in it, SIGINT and SIGTERM call `stop`; a second one ends the process as usual."""
    before: Dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: Any) -> None:
        restore()
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
