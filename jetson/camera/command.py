"""`fastnas camera`: live segmentation, depth and pose, on a web page, in a window or into a video file."""

import signal
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple

import click

from fastnas.jetson import shelf
from fastnas.jetson.options import RESOLUTION, EngineOptions, Size, engine_options

if TYPE_CHECKING:
    from fastnas.jetson.camera.pipeline import Sink
    from fastnas.jetson.camera.sources import Address, Source
    from fastnas.jetson.camera.stats import CameraStatistics
    from fastnas.jetson.inference.predictions import Box

SOURCES = """\b
What --source takes:
  /dev/video0, or 0        a USB or other V4L2 camera
  csi://0                  a camera of the CSI connector
  rtsp://USER:PW@HOST/...  a network camera
  ride.mp4                 a video file
  images/                  a folder of images
  test://                  a moving test pattern"""


@click.command(
    epilog=SOURCES + "\n\n" + shelf.names_help(), short_help="Show live segmentation, depth or pose of a camera."
)
@click.argument("artifacts", nargs=-1, metavar="[NAME|ARTIFACT]...", type=click.Path())
@click.option(
    "--source",
    "sources",
    multiple=True,
    default=["/dev/video0"],
    show_default="/dev/video0",
    help="Where the frames come from; see below. Several, each with --source, are shown side by side.",
)
@click.option("--mode", default="1280x720@30", show_default=True, help="What to ask a camera for: WIDTHxHEIGHT@FPS.")
@click.option("--loop", is_flag=True, help="Play a file again and again.")
@click.option("--every-frame", is_flag=True, help="Drop no frame of a file; as fast or slow as the networks are.")
@click.option(
    "--res",
    type=RESOLUTION,
    help="Input of segmentation and depth; by default the artifact's, or the camera's aspect ratio with 512 at most.",
)
@click.option("--pose-res", type=RESOLUTION, help="Input of pose; by default the artifact's, or 256x256.")
@click.option("--box", metavar="X,Y,W,H", help="Where the person of a pose network is at first, in pixels.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Of the engines; by default fp16 in TensorRT, else fp32. TensorRT 11 needs an fp16 file.",
)
@engine_options
@click.option("--alpha", default=0.5, show_default=True, type=click.FloatRange(0, 1), help="Opacity of the overlay.")
@click.option("--web/--no-web", default=True, show_default=True, help="Serve the live page.")
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Where to serve it. For any but a loopback address a token is made that viewers need; it is printed once.",
)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 is any free one.")
@click.option(
    "--viewers",
    default=8,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Limit of viewers at once, of the page and of --rtsp.",
)
@click.option("--window", is_flag=True, help="Show a window too; q or Esc ends.")
@click.option("--out", type=click.Path(dir_okay=False), help="Record all into a video file (.mp4, .avi, .mkv).")
@click.option(
    "--captures",
    default="captures",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder of the snapshots and recordings that are made on the page.",
)
@click.option(
    "--codec",
    type=click.Choice(["auto", "h264", "mpeg4"]),
    default="auto",
    show_default=True,
    help="Of .mp4 and .mkv videos; auto is H.264 where GStreamer encodes it, in hardware if it can, else MPEG-4.",
)
@click.option(
    "--rtsp",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve H.264 over RTSP too, at --address; players and recorders open the printed URL. 0 is any free port.",
)
@click.option(
    "--print-service",
    is_flag=True,
    help="Print a systemd unit that starts this command at boot, instead of starting it; its first lines say how.",
)
def camera(
    artifacts: Tuple[str, ...],
    sources: Tuple[str, ...],
    mode: str,
    loop: bool,
    every_frame: bool,
    res: Optional[Size],
    pose_res: Optional[Size],
    box: Optional[str],
    precision: Optional[str],
    engine: EngineOptions,
    alpha: float,
    web: bool,
    address: str,
    port: int,
    viewers: int,
    window: bool,
    out: Optional[str],
    captures: str,
    codec: str,
    rtsp: Optional[int],
    print_service: bool,
) -> None:
    """Show live segmentation, depth or pose of a camera.

    NAME is a trained network, ARTIFACT the folder of an exported one; on a host a model file, too, which is exported
    once into the cache. Without any it is trio, or street.

    Several, one of each task, run on the same frames, and on those of several cameras in turn. Frames that come while
    the networks are busy are dropped, so that the page does not lag. It is at http://localhost:8080; Ctrl-C ends.
    """
    from fastnas.jetson.camera.controls import Controls
    from fastnas.jetson.camera.pipeline import Pipeline
    from fastnas.jetson.camera.recorder import Captures, Recording
    from fastnas.jetson.camera.reopen import open_camera
    from fastnas.jetson.camera.sources import parse_address, parse_mode
    from fastnas.jetson.camera.stats import Statistics
    from fastnas.jetson.camera.video.rtsp import Stream
    from fastnas.jetson.camera.web.broadcast import Broadcast
    from fastnas.jetson.camera.web.server import Server
    from fastnas.jetson.camera.window import Window
    from fastnas.jetson.inference.draw import draw
    from fastnas.jetson.inference.predictor import InferenceOptions, Predictor, by_task, tasks_of
    from fastnas.jetson.system.service import unit

    if not (web or window or out is not None or rtsp is not None):
        raise click.UsageError("--no-web without --window, --out or --rtsp would show nothing")
    options = InferenceOptions(res, pose_res, precision, engine, parse_box(box) if box is not None else None)
    opened = [shelf.open_artifact(text, lambda line: click.echo(line, err=True)) for text in artifacts]
    found = by_task(opened or [shelf.open_artifact(shelf.default())])
    places, wanted = [parse_address(text) for text in sources], parse_mode(mode)
    for place in places:
        if place.live and (loop or every_frame):
            raise click.UsageError("--loop and --every-frame are for files and folders, not for {}".format(place))
    if print_service:
        if window:
            raise click.UsageError("--window needs a desktop, which a service has not")
        click.echo(unit([word for word in sys.argv[1:] if word != "--print-service"]))
        return
    name = " + ".join(dict.fromkeys(artifact.sidecar.name for artifact in found.values()))
    tasks, statistics, controls = tasks_of(found), Statistics(cameras=len(places)), Controls(list(found), alpha)

    def say(line: str) -> None:
        statistics.message = line
        click.echo(line, err=True)

    def open_one(place: "Address", own: "CameraStatistics") -> "Source":
        own.name = str(place)
        say_own = say if len(places) == 1 else lambda line: say("{}: {}".format(place, line))
        source = open_camera(place, wanted, loop, own, say_own)
        say("source: {} at {:g} FPS".format(source.pipeline, source.fps))
        return source

    with ExitStack() as stack:
        unused = stack.enter_context(ExitStack())
        frames = []
        for place, own in zip(places, statistics.cameras):
            frames.append(open_one(place, own))
            unused.callback(frames[-1].close)
        fps = max(source.fps for source in frames)
        sinks: List["Sink"] = [Captures(captures, fps, controls, say, codec)]
        if out is not None:
            sinks.append(Recording(out, fps, every_frame, say, codec))
        if rtsp is not None:
            stream = stack.enter_context(Stream(address, rtsp, fps, viewers, say))
            sinks.append(stream)
            click.echo("play: {}".format(stream.url()), err=True)
        if web:
            broadcast = Broadcast(viewers, lambda each: statistics.budget.add("encode", each))
            sinks.append(broadcast)
            server = stack.enter_context(Server(address, port, name, broadcast, controls, statistics))
            click.echo("watch: {}".format(server.url()), err=True)
        shown = stack.enter_context(Window("fastnas: " + name, controls)) if window else None
        if shown:
            sinks.append(shown)
        pipeline = Pipeline(
            frames,
            lambda size: Predictor(found, size, options, say),
            lambda frame, p, alpha: draw(frame, tasks, p.segmentation, p.depth, p.pose, p.box, alpha),
            sinks,
            controls,
            statistics,
            every_frame,
            say,
        )
        unused.pop_all()  # from here on the pipeline closes the sources
        with stopping_on_signals(pipeline.stop):
            pipeline.start()
            while not pipeline.wait(0.02 if shown else 0.2):
                if shown and not shown.refresh():
                    pipeline.stop()
            pipeline.join()
    click.echo(summary(statistics.snapshot()), err=True)


def parse_box(text: str) -> "Box":
    """`X,Y,WIDTH,HEIGHT` in pixels."""
    from fastnas.jetson.inference.predictions import Box

    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter("{!r} is not X,Y,WIDTH,HEIGHT such as 100,50,80,200".format(text)) from None
    return Box(x, y, x + width, y + height)


def summary(statistics: Dict[str, Any]) -> str:
    """The last lines of the command."""
    from fastnas.jetson.camera.budget import describe

    line = "{shown} frames shown, {dropped} of {captured} dropped, {corrupt} corrupt"
    if statistics["latency_ms"]:
        line += "; at the end {shown_fps:.1f} FPS, latency {latency_ms[p50]:.0f} ms, p99 {latency_ms[p99]:.0f} ms"
    each = "{name}: {shown} frames shown, {dropped} of {captured} dropped, {corrupt} corrupt"
    lines = [line.format(**statistics)] + [each.format(**camera) for camera in statistics["cameras"]]
    return "\n".join(filter(None, lines + [describe(statistics["budget"])]))


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within the context SIGINT and SIGTERM call `stop`; a second one ends the process as usual."""
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
