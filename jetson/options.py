"""Types and values of options that commands share: sizes, sweeps, and how an engine runs."""

import functools
import re
from typing import TYPE_CHECKING, Any, Callable, List, NamedTuple, Optional, Tuple

import click

from fastnas.jetson.checks import SIDE, plain_text

Size = Tuple[int, int]
"""Height and width in pixels."""


def parse_size(text: str) -> Size:
    """`512` (square) or `360x480` (height x width) as (H, W).

    Raises:
        ValueError: it is neither.
    """
    match = re.match(r"(\d+)(?:x(\d+))?\Z", text, re.ASCII)
    height, width = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (0, 0)
    if not SIDE[0] <= height <= SIDE[1] or not SIDE[0] <= width <= SIDE[1]:
        raise ValueError("{!r} is not a size in pixels such as 512 or 360x480 (height x width)".format(text))
    return height, width


def parse_sweep(text: str) -> List[Size]:
    """`128:1024:128` as the square sizes 128, 256, ..., 1024; the last is included if the steps reach it.

    Raises:
        ValueError: it is something else.
    """
    match = re.match(r"(\d+):(\d+):(\d+)\Z", text, re.ASCII)
    first, last, step = (int(number) for number in match.groups()) if match else (0, 0, 0)
    if not SIDE[0] <= first <= last <= SIDE[1] or step < 1:
        raise ValueError("{!r} is not FIRST:LAST:STEP in pixels such as 128:1024:128".format(text))
    return [(side, side) for side in range(first, last + 1, step)]


def parse_host(text: str) -> str:
    """`USER@NAME`, `NAME` or an alias of ~/.ssh/config, as `ssh` takes it.

    Raises:
        ValueError: it is empty, or holds what an address does not and `ssh` or a shell that it starts might act on.
    """
    parts = text.split("@")
    strange = re.search(r"""[\s'"`$\\;&|<>(){}]""", text) or not plain_text(text) or len(text) > 255
    if strange or any(not part or part.startswith("-") for part in parts):
        raise ValueError("{!r:.80} is no host; give USER@NAME, NAME or an alias of ~/.ssh/config".format(text))
    return text


if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:  # click 8.0 knows no type parameters
    ParamType = click.ParamType


class Parsed(ParamType):
    """The type of an option whose text a function reads; its ValueError is the error of wrong usage."""

    def __init__(self, metavar: str, parse: Callable[[str], Any]) -> None:
        self.name = metavar
        self._parse = parse

    def get_metavar(self, param: click.Parameter, ctx: Optional[click.Context] = None) -> str:
        """The placeholder in the help."""
        return self.name

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        """Read a text; a default that is no text stays as it is."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


RESOLUTION = Parsed("SIZE|HxW", parse_size)
SWEEP = Parsed("FIRST:LAST:STEP", parse_sweep)
HOST = Parsed("USER@JETSON", parse_host)

ENGINES = ("auto", "tensorrt", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt")


MEMORY_KINDS = ("auto", "mapped", "managed", "pinned", "ordinary")


class EngineOptions(NamedTuple):
    """How an artifact's engine runs.

    Attributes:
        engine: one of `ENGINES`; `auto` is TensorRT where it is installed, else ONNX Runtime.
        threads: of ONNX Runtime on the CPU; 0 is its own choice.
        workspace_mb: limit of TensorRT's scratch memory.
        dla: number of the deep learning accelerator that TensorRT uses; None is the GPU alone.
        memory: of TensorRT's inputs and outputs, one of `MEMORY_KINDS`; `auto` goes by the GPU.
        graph: whether TensorRT's work is recorded into a CUDA graph, where that is possible.
    """

    engine: str = "auto"
    threads: int = 0
    workspace_mb: int = 256
    dla: Optional[int] = None
    memory: str = "auto"
    graph: bool = True


ENGINE = click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="Runtime; auto is TensorRT where it is installed, else ONNX Runtime.",
)
THREADS = click.option(
    "--threads", default=0, type=click.IntRange(0), help="Of ONNX Runtime on a CPU; 0 is its own choice."
)
WORKSPACE = click.option(
    "--workspace",
    "workspace_mb",
    default=EngineOptions().workspace_mb,
    show_default=True,
    type=click.IntRange(1),
    metavar="MB",
    help="Scratch memory that TensorRT may use.",
)
DLA = click.option(
    "--dla",
    type=click.IntRange(0),
    metavar="CORE",
    help="Run TensorRT's fp16 engines on this deep learning accelerator, and on the GPU what it cannot.",
)

MEMORY = click.option(
    "--memory",
    type=click.Choice(MEMORY_KINDS),
    default="auto",
    show_default=True,
    help="Of TensorRT's inputs and outputs: shared with the GPU (mapped, managed) or copied to it (pinned, ordinary).",
)

GRAPH = click.option(
    "--graph/--no-graph",
    default=True,
    show_default=True,
    help="Record TensorRT's work into a CUDA graph, which one launch enqueues, where that works.",
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of an engine; the command gets `engine`, an `EngineOptions`."""

    @ENGINE
    @THREADS
    @WORKSPACE
    @DLA
    @MEMORY
    @GRAPH
    @functools.wraps(command)
    def run(
        engine: str, threads: int, workspace_mb: int, dla: Optional[int], memory: str, graph: bool, **options: Any
    ) -> Any:
        return command(engine=EngineOptions(engine, threads, workspace_mb, dla, memory, graph), **options)

    return run
