"""The stages of the demo: commands of `fastnas`, each skipped once its output exists."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastnas import shelf
from fastnas.errors import FastnasError
from fastnas.jetson.files import atomic_path
from fastnas.models.checkpoint import FILE_NAME

if TYPE_CHECKING:
    from rich.console import Console

TASKS = ("segmentation", "depth", "pose")
PHOTO = "photo.jpg"
"""The file in the demo's folder that the trained networks are shown on."""
PHOTOGRAPHED = ("people", "objects")
"""The trained networks that have something to find in it, a portrait: `pose` and `trio` need a whole person."""
UNRELIABLE = 3
"""The exit code of a benchmark that flags rows as unreliable; the page says so too."""


@dataclass(frozen=True)
class Sizes:
    """How much the demo does. The defaults take about ten minutes on two idle cores.

    Attributes:
        search_seconds: for candidates; the encoder's warm-up comes on top.
        encoder: `--encoder-weights` of the search; the trainings start from the encoder that it stores.
        samples: training scenes per epoch.
        epochs: of each training.
        val_samples: scenes that a trained network is evaluated on.
        calibration: images for INT8.
        frames: of the clip.
        side: of the benchmark's image, pixels; 512 in the paper.
        sweep: `--sweep` of the benchmark.
        passes: of the benchmark; those of the sweep are a third.
    """

    search_seconds: int = 150
    encoder: str = "scenes"
    samples: int = 450
    epochs: int = 4
    val_samples: int = 30
    calibration: int = 32
    frames: int = 48
    side: int = 512
    sweep: str = "128:512:128"
    passes: int = 100

    @staticmethod
    def of(minutes: float) -> Sizes:
        """Sizes for a demo of so many minutes: about five are fixed, search and training share the others."""
        share = max(minutes - 5, 0.5) / 5
        seconds, samples = round(Sizes.search_seconds * share), round(Sizes.samples * share)
        return Sizes(search_seconds=seconds, samples=max(64, samples))


@dataclass(frozen=True)
class Stage:
    """A command of the demo.

    Attributes:
        title: shown while it runs.
        seconds: expected on two idle cores, for the remaining time.
        output: the file that it writes; the stage is skipped where it exists.
        arguments: of `fastnas`, computed when the stage starts.
        prints: `output` is what the command prints.
        accepted: exit codes that are no failure.
    """

    title: str
    seconds: float
    output: Path
    arguments: Callable[[], Sequence[str | Path]]
    prints: bool = False
    accepted: tuple[int, ...] = (0,)


def plan(out: Path, sizes: Sizes) -> list[Stage]:
    """All commands of the demo in their order; `out` is its folder."""
    run, cache, artifacts = out / "search", out / "cache", out / "artifacts"

    def search() -> list[str | Path]:
        if (run / "settings.json").exists():
            return ["search", "--resume", run, "--cache", cache]
        limits = ["--time", f"{sizes.search_seconds}s", "--encoder-weights", sizes.encoder]
        return ["search", *limits, "--cache", cache, "--out", run]

    def train(task: str) -> list[str | Path]:
        folder = out / "train" / task
        if (folder / "state.pt").exists():
            return ["train", "--resume", folder, "--json"]
        stored = [*map(str, sorted((cache / "encoders").glob("*.safetensors"))), "none"]
        # Many small steps: in a minute they come further than the recipe's, which are meant for ten.
        return [
            "train", f"best@{run}", "--task", task, "--encoder-weights", stored[0], "--epochs", f"{sizes.epochs}",
            "--limit", f"{sizes.samples}", "--val-limit", f"{sizes.val_samples}", "--set", "batch=8",
            "--set", "polyak=0.95", "--out", folder, "--json",
        ]  # fmt: skip

    def evaluate(task: str) -> list[str | Path]:
        model, drawings = out / "train" / task / FILE_NAME, out / "predictions" / task
        return ["eval", model, "--limit", f"{sizes.val_samples}", "--images", drawings, "--json"]

    def export(task: str) -> list[str | Path]:
        # A minute of training leaves pose too rough for INT8's accuracy check; the benchmark needs segmentation alone.
        int8 = ["--int8", "--calibrate", f"{out / 'calibration'}"] if task == "segmentation" else []
        model = out / "train" / task / FILE_NAME
        return ["export", model, "--res", "256", "--fp16", *int8, "--name", task, "--out", artifacts, "--json"]

    def fixed(*arguments: str | Path) -> Callable[[], Sequence[str | Path]]:
        return lambda: arguments

    photo = out / PHOTO
    trained = [
        Stage(
            f"predict with the trained network {name}", 8, trained_output(out, name),
            fixed("predict", name, photo, "--out", out / "trained" / name, "--replace", "--json"), prints=True,
        )
        for name in PHOTOGRAPHED if name in shelf.entries()
    ]  # fmt: skip
    training = 10 + sizes.samples * sizes.epochs / 28
    found = artifacts / "segmentation"
    stages = [
        *trained,
        Stage("search for a network", sizes.search_seconds + 40, run / "report.html", search),
        Stage("report the search", 8, out / "search.json", fixed("report", run, "--json"), prints=True),
    ]
    for task in TASKS:
        stages += [
            Stage(f"train it for {task}", training, out / f"train-{task}.json", partial(train, task), prints=True),
            Stage(f"evaluate it on {task}", 12, out / f"eval-{task}.json", partial(evaluate, task), prints=True),
            Stage(f"export it for {task}", 15, out / f"export-{task}.json", partial(export, task), prints=True),
        ]
    exporting = fixed("export", "arch0", "--out", artifacts, "--json")
    benchmark = fixed(
        "jetson-bench", found, artifacts / "arch0", "--res", f"{sizes.side}", "--passes", f"{sizes.passes}",
        "--report", out / "bench.json",
    )  # fmt: skip
    sweep = fixed(
        "jetson-bench", found, "--sweep", sizes.sweep, "--precision", "fp32", "--precision", "int8",
        "--passes", f"{max(1, sizes.passes // 3)}", "--report", out / "sweep.json",
    )  # fmt: skip
    camera = fixed(
        "camera", found, artifacts / "depth", "--source", out / "clip.mp4", "--every-frame", "--no-web",
        "--out", out / "camera.mp4",
    )  # fmt: skip
    return [
        *stages,
        Stage("export the paper's arch0", 12, out / "export-arch0.json", exporting, prints=True),
        Stage("benchmark", 20, out / "bench.json", benchmark, accepted=(0, UNRELIABLE)),
        Stage("benchmark over resolutions", 12, out / "sweep.svg", sweep, accepted=(0, UNRELIABLE)),
        Stage("run the camera on a clip", 20, out / "camera.mp4", camera),
    ]


def trained_output(out: Path, name: str) -> Path:
    """What `fastnas predict` printed about the photo, by a trained network."""
    return out / f"trained-{name}.json"


def run(stages: Sequence[Stage], console: Console) -> None:
    """Run the stages whose output does not exist yet.

    Raises:
        FastnasError: a stage failed, after its own message on stderr.
    """
    begun, worked = time.monotonic(), 0.0
    waiting = [stage for stage in stages if not stage.output.exists()]
    if kept := len(stages) - len(waiting):
        console.print(f"{kept} of {len(stages)} stages are done already")
    for index, stage in enumerate(waiting):
        elapsed = time.monotonic() - begun
        pace = elapsed / worked if worked else 1.0
        left = pace * sum(each.seconds for each in waiting[index:])
        console.print(
            f"\n[{kept + index + 1}/{len(stages)}] {stage.title} · {_clock(elapsed)} gone, about {_clock(left)} left",
            style="bold",
            soft_wrap=True,
        )
        _run(stage, console)
        worked += stage.seconds


def _run(stage: Stage, console: Console) -> None:
    arguments = [str(argument) for argument in stage.arguments()]
    redirection = f" > {shlex.quote(str(stage.output))}" if stage.prints else ""
    console.print(f"$ fastnas {shlex.join(arguments)}{redirection}", style="cyan", soft_wrap=True)
    command = [sys.executable, "-m", "fastnas", *arguments]
    try:
        if stage.prints:
            with atomic_path(stage.output) as temporary:
                with open(temporary, "w") as file:
                    code = _wait(subprocess.Popen(command, stdout=file))
                _require_success(stage, code)
        else:
            _require_success(stage, _wait(subprocess.Popen(command)))
    except BaseException:
        stage.output.unlink(missing_ok=True)  # an interrupted camera leaves a valid, but shorter video
        raise
    if not stage.output.exists():
        raise FastnasError(f"demo: stage {stage.title!r} wrote no {stage.output}")


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code. Ctrl-C reaches the process too, which gets the time to end in order."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def _require_success(stage: Stage, code: int) -> None:
    if code == 130:
        raise KeyboardInterrupt
    if code not in stage.accepted:
        raise FastnasError(
            f"demo: stage {stage.title!r} failed (exit code {code}, its message is above); "
            "finished stages are kept: run the same command again to continue"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
