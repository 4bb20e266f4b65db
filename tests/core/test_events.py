"""Figures for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fastnas.events import EventWriter


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    """The points that TensorBoard would draw."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    return [(point.step, point.value) for point in reader.Reload().Scalars(tag)]


def test_points_come_back(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    for step in range(3):
        writer.add_scalar("loss/batch", step / 2, step)
    writer.close()
    assert curve(tmp_path, "loss/batch") == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_a_resumed_run_takes_the_place_of_what_it_does_again(tmp_path: Path) -> None:
    for purge_step, value in ((None, 1.0), (2, 5.0)):
        writer = EventWriter(tmp_path, purge_step)
        for step in range(purge_step or 0, 4):
            writer.add_scalar("reward", value, step)
        writer.close()
    assert curve(tmp_path, "reward") == [(0, 1.0), (1, 1.0), (2, 5.0), (3, 5.0)]


INTERRUPTED = """
import random, signal, sys, threading
from pathlib import Path
from fastnas.events import EventWriter

class Interruption(BaseException):
    pass

def interrupt(number, frame):
    raise Interruption

signal.signal(signal.SIGALRM, interrupt)
for trial in range(200):
    writer, written = EventWriter(Path(sys.argv[1]) / str(trial)), 0
    try:
        signal.setitimer(signal.ITIMER_REAL, random.Random(trial).uniform(0.0005, 0.003))
        while True:
            writer.add_scalar("loss", 1.0, written)
            writer.flush()
            written += 1
    except Interruption:
        pass
    closing = threading.Thread(target=writer.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    print(written)
"""


def test_an_interruption_at_any_moment_does_not_keep_it_from_closing(tmp_path: Path) -> None:
    """In a process of its own: such an interruption can lock whatever else this one does, such as measure coverage."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == 200
    assert sum(counts) > 200
    for trial, written in enumerate(counts):
        if written:
            assert len(curve(tmp_path / str(trial), "loss")) >= written
