"""100 SIGKILLs at random times for each of search, training and export, which are started again after each.

Nothing that was done is lost, nothing is left behind, and the end equals that of a command that ran undisturbed.
Ctrl-C likewise, most of it while compiled packages are imported.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fastnas.jetson import sidecar
from fastnas.models.checkpoint import FILE_NAME
from fastnas.models.encoder import make_encoder
from fastnas.search.history import read_records
from fastnas.storing import write_tensors
from fastnas.train.loop import STATE
from tests.helpers.jetson_toys import write_toy
from tests.helpers.killing import Killer

KILLS = 100
INTERRUPTS = 10
SIZES = (
    "images=24 evaluation.channels=8 evaluation.stage1_crop=32 evaluation.stage1_short_side=32 "
    "evaluation.stage1_batch=8 evaluation.stage2_crop=32 evaluation.stage2_short_side=32 evaluation.stage2_batch=8"
)
MACHINE = ["--workers", "0", "--save-every", "0", "--accelerator", "cpu"]
TRAINING = [
    *[
        "train",
        "arch2",
        "--encoder-weights",
        "none",
        "--channels",
        "4",
        "--limit",
        "16",
        "--val-limit",
        "2",
        "--epochs",
        "3",
    ],
    *["--set", "batch=4", "--set", "crop=32,32"],
    *MACHINE,
]
SEARCH = [
    *["search", "--candidates", "5", "--precision", "fp32", "--accelerator", "cpu"],
    *(word for size in SIZES.split() for word in ("--set", size)),
]
EXPORT = ["export", "arch2", "--channels", "4", "--res", "64", "--fp16"]

pytestmark = pytest.mark.slow


@pytest.fixture
def killer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Killer]:
    """With an own folder for temporary files, in which nothing is left."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    killer = Killer(seed=0)
    yield killer
    print(f"{killer.kills} kills, {killer.finished} commands that ended before theirs")


def hidden(folder: Path) -> list[str]:
    """Hidden files and folders in a folder, but for the lock of a training."""
    return [str(path) for path in folder.rglob(".*") if path.name != ".lock"]


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("seconds", "finished")}


def history(folder: Path) -> list[dict[str, Any]]:
    return [without_times(json.loads(record.to_json())) for record in read_records(folder)]


@pytest.mark.parametrize("weights", ["none", "file"])
def test_searches(weights: str, killer: Killer, tmp_path: Path) -> None:
    if weights == "file":
        weights = str(tmp_path / "encoder.safetensors")
        write_tensors(weights, make_encoder("mobilenet_v2").state_dict())
    log, words = tmp_path / "log", [*SEARCH, "--encoder-weights", weights]
    assert killer.run([*words, "--out", str(tmp_path / "whole"), "--cache", str(tmp_path / "cache")], log)
    whole, run = history(tmp_path / "whole"), 0
    while killer.kills < KILLS:
        run += 1
        folder, cache, known = tmp_path / f"run{run}", ["--cache", str(tmp_path / f"cache{run}")], list[Any]()
        ended = False
        while not ended:
            begun = (folder / "settings.json").exists()
            how = ["search", "--resume", str(folder)] if begun else [*words, "--out", str(folder)]
            # Once it was killed often enough, it may end.
            ended = killer.run([*how, *cache], log, killer.seconds if killer.kills < KILLS else 0.0)
            if (folder / "history.jsonl").exists():
                now = history(folder)
                assert now[: len(known)] == known, "a candidate was lost"
                known = now
        assert known == whole
        assert not hidden(folder)
        assert not hidden(tmp_path / f"cache{run}")
    assert killer.kills >= KILLS


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / STATE, weights_only=True)
    state["progress"]["rows"] = [without_times(row) for row in state["progress"]["rows"]]
    return state


def test_trainings(killer: Killer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert killer.run([*TRAINING, "--out", str(tmp_path / "whole")], log)
    whole, run = state_of(tmp_path / "whole"), 0
    while killer.kills < KILLS:
        run, done, ended = run + 1, 0, False
        folder = tmp_path / f"run{run}"
        while not ended:
            begun = (folder / STATE).exists()
            words = ["train", "--resume", str(folder), *MACHINE] if begun else [*TRAINING, "--out", str(folder)]
            ended = killer.run(words, log, killer.seconds if killer.kills < KILLS else 0.0)
            if (folder / STATE).exists():
                now = state_of(folder)["progress"]["updates"]
                assert now >= done, "updates were lost"
                done = now
            if (folder / FILE_NAME).exists():
                load_file(folder / FILE_NAME)
        torch.testing.assert_close(state_of(folder), whole, rtol=0, atol=0, equal_nan=True)
        model, expected = load_file(folder / FILE_NAME), load_file(tmp_path / "whole" / FILE_NAME)
        torch.testing.assert_close(model, expected, rtol=0, atol=0)
        assert not hidden(folder)
        assert set(os.listdir(folder)) == set(os.listdir(tmp_path / "whole"))
    assert killer.kills >= KILLS


def checksums(folder: Path) -> dict[str, str]:
    """Of the files of an artifact, each compared to the file."""
    artifact = sidecar.load(str(folder))
    for file in artifact.sidecar.files:
        artifact.verified_path(file)
    return {file.path: file.sha256 for file in artifact.sidecar.files}


def test_exports(killer: Killer, tmp_path: Path) -> None:
    """Each replaces the artifact of another kind, so that a mixture of both would be seen."""
    log, kinds = tmp_path / "log", (["--head", "plain"], ["--head", "labels"])
    expected = []
    for index, kind in enumerate(kinds):
        assert killer.run([*EXPORT, *kind, "--out", str(tmp_path / f"whole{index}")], log)
        expected.append(checksums(tmp_path / f"whole{index}" / "arch2"))
    out, number = tmp_path / "out", 0
    while killer.kills < KILLS:
        number += 1
        ended = killer.run([*EXPORT, *kinds[number % 2], "--out", str(out)], log, killer.seconds)
        if (out / "arch2").exists():
            found = checksums(out / "arch2")
            assert found in expected, "a mixture"
            assert not ended or found == expected[number % 2]
        else:
            assert not ended
    assert killer.run([*EXPORT, *kinds[0], "--out", str(out)], log)
    assert checksums(out / "arch2") == expected[0]
    assert os.listdir(out) == ["arch2"]
    assert not hidden(out)
    assert killer.kills >= KILLS
    assert not os.listdir(tmp_path / "tmp")


INTERRUPTED = {
    "jetson-bench ARTIFACT --res 64 --passes 1000000 --report OUT/report.json": 2.0,
    "camera ARTIFACT --source test:// --no-web --out OUT.avi": 2.0,
    "show arch0 --draw OUT/arch0.png": 4.0,
    "export arch0 --res 64 --fp16 --out OUT": 6.0,
    "train arch2 --encoder-weights none --epochs 500 --out OUT": 6.0,
    "search --encoder-weights none --candidates 500 --cache OUT/cache --out OUT/run": 6.0,
}
"""Command -> seconds in which it is interrupted: most of them pass importing compiled packages."""


@pytest.mark.parametrize("words", INTERRUPTED)
def test_ctrl_c_at_any_time_ends_with_130(words: str, tmp_path: Path) -> None:
    write_toy(str(tmp_path), "segmentation")
    generator, sent = random.Random(words), 0
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import click"], check=True)
    least = time.monotonic() - begun  # before that, Python itself may still be starting
    while sent < INTERRUPTS:
        out = tmp_path / f"out{sent}"
        named = words.replace("ARTIFACT", str(tmp_path / "toy-segmentation")).replace("OUT", str(out))
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "fastnas", *named.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        time.sleep(least + generator.uniform(0.0, INTERRUPTED[words]))
        if process.poll() is not None:
            process.communicate()
            continue
        process.send_signal(signal.SIGINT)
        sent += 1
        printed, _ = process.communicate(timeout=60)
        # A shell shows both as 130; the latter is Python's own end where the signal met an `exec` of text. A camera
        # that runs ends well.
        assert process.returncode in (130, -signal.SIGINT, 0 if words.startswith("camera") else 130), printed
        assert "Traceback" not in printed
        assert not hidden(out)
