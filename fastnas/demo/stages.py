"""The stages of the demo: commands as a user types them, each kept once its output exists."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastnas.errors import FastnasError
from fastnas.jetson.files import atomic_path

if TYPE_CHECKING:
    from rich.console import Console

TASKS = ("segmentation", "depth", "pose")
UNRELIABLE = 3
"""The exit code of a benchmark that flags results as unreliable; the page repeats the reasons."""


@dataclass(frozen=True)
class Sizes:
    """How much the demo does. The defaults take about ten minutes on two idle cores.

    Attributes:
        search_seconds: for candidates; the encoder's warm-up comes on top.
        encoder: `--encoder-weights` of the search; what it stores is the start of the trainings too.
        samples: scenes that a network is trained on in each epoch.
        judged: scenes that a trained network is measured on.
        calibration: pictures for INT8.
        frames: of the clip.
        side: of the picture in the benchmark, pixels; the paper's is 512.
        sweep: `--sweep` of the benchmark.
        passes: of the benchmark; those of the sweep are a third.
    """

    search_seconds: int = 150
    encoder: str = "scenes"
    samples: int = 450
    epochs: int = 4
    judged: int = 30
    calibration: int = 32
    frames: int = 48
    side: int = 512
    sweep: str = "128:512:128"
    passes: int = 100

    @staticmethod
    def of(minutes: float) -> Sizes:
        """Those that take so long: search and training get what the rest, about five minutes, leaves."""
        share = max(minutes - 5, 0.5) / 5
        seconds, samples = round(Sizes.search_seconds * share), round(Sizes.samples * share)
        return Sizes(search_seconds=seconds, samples=max(64, samples))


@dataclass(frozen=True)
class Stage:
    """A step of the demo.

    Attributes:
        title: what it does, for the one who waits.
        seconds: that it takes on two idle cores, for the time that is left.
        done: the file that it leaves; the stage is kept where it exists.
        arguments: of `fastnas`, found when the stage begins.
        prints: `done` is what the command prints.
        accepted: exit codes that are no failure.
    """

    title: str
    seconds: float
    done: Path
    arguments: Callable[[], list[str]]
    prints: bool = False
    accepted: tuple[int, ...] = (0,)


def plan(out: Path, sizes: Sizes) -> list[Stage]:
    """All commands of the demo in their order; `out` is its folder."""
    run, cache, artifacts = out / "search", out / "cache", out / "artifacts"

    def search() -> list[str]:
        if (run / "settings.json").exists():
            return ["search", "--resume", f"{run}", "--cache", f"{cache}"]
        time_and_weights = ["--time", f"{sizes.search_seconds}s", "--encoder-weights", sizes.encoder]
        return ["search", *time_and_weights, "--cache", f"{cache}", "--out", f"{run}"]

    def train(task: str) -> list[str]:
        folder = out / "train" / task
        if (folder / "state.pt").exists():
            return ["train", "--resume", f"{folder}", "--json"]
        stored = sorted(str(path) for path in (cache / "encoders").glob("*.safetensors"))
        # Many small steps: in a minute they come further than the recipe's, which are meant for ten.
        steps = ["--set", "batch=8", "--set", "polyak=0.95"]
        return [
            "train", f"best@{run}", "--task", task, "--encoder-weights", *(stored or ["none"])[:1],
            "--epochs", f"{sizes.epochs}", "--limit", f"{sizes.samples}", "--val-limit", f"{sizes.judged}",
            *steps, "--out", f"{folder}", "--json",
        ]  # fmt: skip

    def judge(task: str) -> list[str]:
        options = ["--limit", f"{sizes.judged}", "--pictures", f"{out / 'pictures' / task}", "--json"]
        return ["eval", f"{_model(out, task)}", *options]

    def export(task: str) -> list[str]:
        # A minute of training leaves pose too rough for INT8's accuracy check; the benchmark wants segmentation alone.
        int8 = ["--int8", "--calibrate", f"{out / 'calibration'}"] if task == "segmentation" else []
        options = ["--res", "256", "--fp16", *int8]
        return ["export", f"{_model(out, task)}", *options, "--name", task, "--out", f"{artifacts}", "--json"]

    def bench(names: Sequence[str], *options: str, report: str) -> list[str]:
        return ["jetson-bench", *(f"{artifacts / name}" for name in names), *options, "--report", f"{out / report}"]

    samples = sizes.samples * sizes.epochs
    stages = [
        Stage("search for a network", sizes.search_seconds + 40, run / "report.html", search),
        Stage("the search in numbers", 8, out / "search.json", lambda: ["report", f"{run}", "--json"], prints=True),
    ]
    for task in TASKS:
        stages += [
            Stage(f"train it for {task}", 10 + samples / 28, out / f"train-{task}.json", _bound(train, task), True),
            Stage(f"measure it on {task}", 12, out / f"eval-{task}.json", _bound(judge, task), True),
            Stage(f"export it for {task}", 15, out / f"export-{task}.json", _bound(export, task), True),
        ]
    res, third = f"{sizes.side}", f"{max(1, sizes.passes // 3)}"
    return [
        *stages,
        Stage(
            "export the paper's arch0 beside it", 12, out / "export-arch0.json",
            lambda: ["export", "arch0", "--out", f"{artifacts}", "--json"], True,
        ),
        Stage(
            "benchmark", 20, out / "bench.json",
            lambda: bench(["segmentation", "arch0"], "--res", res, "--passes", f"{sizes.passes}", report="bench.json"),
            accepted=(0, UNRELIABLE),
        ),
        Stage(
            "benchmark over resolutions", 12, out / "sweep.svg",
            lambda: bench(
                ["segmentation"], "--sweep", sizes.sweep, "--precision", "fp32", "--precision", "int8",
                "--passes", third, report="sweep.json",
            ),
            accepted=(0, UNRELIABLE),
        ),
        Stage(
            "the camera on a clip", 20, out / "camera.mp4",
            lambda: [
                "camera", f"{artifacts / 'segmentation'}", f"{artifacts / 'depth'}", "--source", f"{out / 'clip.mp4'}",
                "--every-frame", "--no-web", "--out", f"{out / 'camera.mp4'}",
            ],
        ),
    ]  # fmt: skip


def run(stages: Sequence[Stage], console: Console) -> None:
    """Run the stages that have left no output yet.

    Raises:
        FastnasError: a stage failed; its own message is above.
    """
    begun, worked = time.monotonic(), 0.0
    waiting = [stage for stage in stages if not stage.done.exists()]
    if kept := len(stages) - len(waiting):
        console.print(f"{kept} of {len(stages)} stages are done already")
    for index, stage in enumerate(waiting):
        elapsed = time.monotonic() - begun
        pace = elapsed / worked if worked else 1.0
        left = pace * sum(each.seconds for each in waiting[index:])
        console.print(
            f"\n[bold][{kept + index + 1}/{len(stages)}] {stage.title}[/] · {_clock(elapsed)} gone, "
            f"about {_clock(left)} left".replace("[bold][", "[bold]\\["),
            soft_wrap=True,
        )
        _run(stage, console)
        worked += stage.seconds


def _run(stage: Stage, console: Console) -> None:
    arguments = stage.arguments()
    onto = f" > {shlex.quote(str(stage.done))}" if stage.prints else ""
    console.print(f"$ fastnas {shlex.join(arguments)}{onto}", style="cyan", markup=False, soft_wrap=True)
    command = [sys.executable, "-m", "fastnas", *arguments]
    try:
        if stage.prints:
            with atomic_path(stage.done) as temporary:
                with open(temporary, "w") as file:
                    code = _wait(subprocess.Popen(command, stdout=file))
                _insist(stage, code)
        else:
            _insist(stage, _wait(subprocess.Popen(command)))
    except BaseException:
        stage.done.unlink(missing_ok=True)  # an interrupted camera leaves a whole, but shorter video
        raise
    if not stage.done.exists():
        raise FastnasError(f"demo: stage {stage.title!r} left no {stage.done}")


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code. Ctrl-C reaches the command too: it gets the time to end in order."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def _insist(stage: Stage, code: int) -> None:
    if code == 130:
        raise KeyboardInterrupt
    if code not in stage.accepted:
        raise FastnasError(
            f"demo: stage {stage.title!r} failed (exit code {code}, its message is above); "
            "what is done is kept: run the same command again to go on from here"
        )


def _bound(make: Callable[[str], list[str]], task: str) -> Callable[[], list[str]]:
    return lambda: make(task)


def _model(out: Path, task: str) -> Path:
    return out / "train" / task / "model.safetensors"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def write_scenes(out: Path, sizes: Sizes) -> None:
    """Pictures for calibration into `out/calibration`, and `out/clip.mp4`, a pan over wide scenes, unless there."""
    import cv2
    import numpy as np

    from fastnas.data.synthetic.dataset import SyntheticScenes

    def picture(scenes: SyntheticScenes, index: int) -> np.ndarray:
        return np.ascontiguousarray(scenes.scene(index).image.transpose(1, 2, 0)[:, :, ::-1])

    street = SyntheticScenes("train", size=(256, 256))
    for index in range(sizes.calibration):
        path = out / "calibration" / f"{street.name}-{index:03d}.png"
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_bytes(cv2.imencode(".png", picture(street, index))[1].tobytes())
    clip = out / "clip.mp4"
    if clip.exists():
        return
    height, width, wide = 384, 512, 1152
    part = out / "part-of-clip.mp4"  # the ending tells OpenCV the format
    writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), 12, (width, height))
    views = SyntheticScenes("test", size=(height, wide))
    half = max(2, sizes.frames // 2)
    for index in range(2):
        view = picture(views, index)
        for step in range(half):
            left = round((wide - width) * (step if index == 0 else half - 1 - step) / (half - 1))
            writer.write(np.ascontiguousarray(view[:, left : left + width]))
    writer.release()
    if not part.exists():
        raise FastnasError(f"cannot write {clip}: this OpenCV has no writer for mp4 files; fastnas doctor says more")
    os.replace(part, clip)
