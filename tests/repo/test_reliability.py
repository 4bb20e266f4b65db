"""What commands do with what goes wrong. python -m tests.repo.test_reliability writes it down as `docs/reliability.md`.

In the tables MISSING is a path where nothing is, FOLDER an empty folder, FILE a text file, GARBAGE a file of random
bytes, SYSTEM a folder that nobody can write, MODEL and ARTIFACT what a training and an export wrote, NESTED, LINKED and
NAMED artifacts whose JSON is nested 10,000 levels deep, whose graph is a link to another folder, and named `../../x`.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from fastnas.cli import main
from fastnas.models.checkpoint import save_model
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks import Segmentation
from tests.helpers.jetson_toys import write_toy
from tests.helpers.user_files import FINDINGS, READS, Found, Read

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


class Case(NamedTuple):
    """A command, how it exits, and a part of the one line that it says."""

    words: str
    exit: int
    says: str


CASES = {
    "Nothing is there": (
        Case("show MISSING.safetensors", 1, "no model file"),
        Case("search --data camvid --root MISSING", 1, "is not there; get it from"),
        Case("search --resume MISSING", 1, "is not a run folder"),
        Case("search --encoder-weights MISSING", 1, "no weights file"),
        Case("search --encoder-weights none --teacher MISSING.onnx", 1, "no teacher"),
        Case("report MISSING", 1, "is not a run folder"),
        Case("train arch0 --data camvid --root MISSING", 1, "is not there; get it from"),
        Case("train arch0 --encoder-weights MISSING", 1, "no weights file"),
        Case("train --resume MISSING", 1, "is not a run folder"),
        Case("train best@MISSING", 1, "is not a run folder"),
        Case("eval MISSING.safetensors --data synthetic", 1, "no model file"),
        Case("eval MODEL --data camvid --root MISSING", 1, "is not there; get it from"),
        Case("export MISSING.safetensors", 1, "no model file"),
        Case("export MODEL --int8 --calibrate MISSING", 1, "is not a folder"),
        Case("data check camvid --root MISSING", 1, "not ready"),
        Case("jetson-bench MISSING", 1, "is no artifact"),
        Case("jetson-bench ARTIFACT --compare MISSING", 2, "does not exist"),
        Case("jetson-bench ARTIFACT --images MISSING", 2, "does not exist"),
        Case("camera MISSING", 1, "is no artifact"),
        Case("camera ARTIFACT --source MISSING.mp4", 1, "no camera, stream or file"),
    ),
    "A folder where a file should be, or the other way round": (
        Case("show FOLDER", 1, "no architecture"),
        Case("show MODEL --draw FILE", 2, "is a file"),
        Case("search --out FILE", 2, "is a file"),
        Case("search --resume FOLDER", 1, "is not a run folder"),
        Case("search --encoder-weights FOLDER", 1, "no weights file"),
        Case("search --encoder-weights none --cache FILE", 1, "Not a directory"),
        Case("report FILE", 2, "is a file"),
        Case("train arch0 --out FILE", 2, "is a file"),
        Case("train --resume FILE", 2, "is a file"),
        Case("train arch0 --encoder-weights none --teacher FOLDER", 1, "is not a .safetensors or .onnx file"),
        Case("eval FOLDER --data synthetic", 1, "is no artifact"),
        Case("export FOLDER", 1, "no architecture"),
        Case("export MODEL --out FILE", 2, "is a file"),
        Case("export MODEL --int8 --calibrate FOLDER", 1, "has no images"),
        Case("jetson-bench FILE", 1, "Not a directory"),
        Case("jetson-bench ARTIFACT --report FOLDER", 2, "is a directory"),
        Case("camera ARTIFACT --source FOLDER", 1, "has no image"),
        Case("demo --out FILE", 2, "is a file"),
    ),
    "Random bytes": (
        Case("show GARBAGE.safetensors", 1, "is truncated or not a safetensors file"),
        Case("search --encoder-weights GARBAGE", 1, "is not a readable weights file"),
        Case("train arch0 --encoder-weights GARBAGE", 1, "is not a readable weights file"),
        Case("train arch0 --encoder-weights none --teacher GARBAGE.onnx", 1, "is not a model that ONNX Runtime opens"),
        Case("eval GARBAGE.safetensors --data synthetic", 1, "is truncated or not a safetensors file"),
        Case("export GARBAGE.safetensors", 1, "is truncated or not a safetensors file"),
        Case("jetson-bench ARTIFACT --compare GARBAGE", 1, "cannot read the report"),
        Case("camera ARTIFACT --source GARBAGE", 1, "cannot open"),
    ),
    "A folder that cannot be written": (
        Case("show MODEL --draw SYSTEM/x", 1, "cannot write"),
        Case("search --out SYSTEM/x", 1, "cannot use the run folder"),
        Case("search --encoder-weights none --cache SYSTEM/x", 1, "cannot write"),
        Case("train arch0 --encoder-weights none --out SYSTEM/x", 1, "cannot write"),
        Case("export MODEL --res 64 --out SYSTEM/x", 1, "cannot write"),
        Case("jetson-bench ARTIFACT --res 64 --passes 2 --report SYSTEM/x.json", 1, "cannot write"),
        Case("camera ARTIFACT --source test:// --no-web --out SYSTEM/x.avi", 1, "stopped recording"),
        Case("demo --out SYSTEM/x", 1, "cannot write"),
    ),
    "From hostile hands": (
        Case("jetson-bench NESTED", 1, "nested more than 32 levels deep"),
        Case("jetson-bench LINKED --res 64", 1, "is a link that leads out of"),
        Case("camera NAMED --source test://", 1, "must be a name without / and"),
        Case("jetson-bench ARTIFACT --compare NESTED/model.json", 1, "nested more than 32 levels deep"),
        Case("search --resume NESTED", 1, "nested more than 32 levels deep"),
        Case("jetson-bench ARTIFACT --host ''", 2, "is no host"),
        Case("jetson-bench ARTIFACT --host -oProxyCommand=x", 2, "is no host"),
        Case("camera ARTIFACT --source test:// --address ''", 1, "cannot serve on"),
    ),
}
SMALL_SEARCH = (
    "search --encoder-weights none --set images=24 --set evaluation.channels=8 --set evaluation.stage1_crop=32 "
    "--set evaluation.stage1_short_side=32 --set evaluation.stage1_batch=8 --set evaluation.stage2_crop=32 "
    "--set evaluation.stage2_short_side=32 --set evaluation.stage2_batch=8 --candidates 4"
)
SMALL_TRAINING = (
    "train arch2 --encoder-weights none --channels 4 --limit 16 --val-limit 2 --set batch=4 --set crop=32,32 "
    "--workers 0 --epochs 2"
)
DISK_FULL = (
    Case(f"{SMALL_TRAINING} --out DISK/run", 1, "No space left on device"),
    Case(f"{SMALL_SEARCH} --cache MISSING --out DISK/run", 1, "No space left on device"),
    Case("export arch2 --res 64 --out DISK", 1, "No space left on device"),
    Case("show MODEL --draw DISK", 1, "No space left on device"),
    Case("jetson-bench ARTIFACT --res 64 --report DISK/report.json", 1, "No space left on device"),
)
"""On a disk of which 4 KiB are left."""
INTERRUPTED = {
    "search": (SMALL_SEARCH.replace("--candidates 4", "--candidates 500") + " --cache CACHE --out RUN", "search ("),
    "train": (SMALL_TRAINING.replace("--epochs 2", "--epochs 500") + " --out RUN", "epoch 1"),
    "export": ("export arch0 --fp16 --out RUN", "checking against PyTorch"),
    "jetson-bench": ("jetson-bench ARTIFACT --res 64 --passes 1000000 --report RUN/report.json", "round 1/3"),
}
"""Command -> its words, and what it prints once it is at work."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The path of every word in capitals."""
    folder = tmp_path_factory.mktemp("places")
    task = Segmentation(("road", "other"), ((128, 64, 128), (0, 0, 0)))
    spec = ModelSpec("arch2", task, channels=4)
    save_model(folder / "model.safetensors", build(spec), spec, recipe={}, metrics={})
    write_toy(str(folder), "segmentation")
    (folder / "folder").mkdir()
    (folder / "file").write_text("text")
    for name in ("garbage", "garbage.safetensors", "garbage.onnx"):
        (folder / name).write_bytes(random.Random(0).randbytes(300))
    hostile(folder)
    names = ("missing", "folder", "file", "garbage", "nested", "linked", "named")
    known = {name.upper(): str(folder / name) for name in names}
    return known | {
        "SYSTEM": "/sys", "MODEL": str(folder / "model.safetensors"), "ARTIFACT": str(folder / "toy-segmentation")
    }  # fmt: skip


def hostile(folder: Path) -> None:
    """Artifacts that are wrong on purpose."""
    for name in ("nested", "linked", "named"):
        shutil.copytree(folder / "toy-segmentation", folder / name)
    for name in ("model.json", "settings.json"):
        (folder / "nested" / name).write_text("[" * 10000)
    (folder / "linked" / "model.onnx").unlink()
    (folder / "linked" / "model.onnx").symlink_to(folder / "toy-segmentation" / "model.onnx")
    described = folder / "named" / "model.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"name": "../../x"}))


def with_paths(words: str, places: dict[str, str]) -> list[str]:
    """The command's words, names in capitals replaced."""
    for name, path in places.items():
        words = words.replace(name, path)
    return shlex.split(words)


def run(case: Case, places: dict[str, str]) -> None:
    """It exits and says what is promised, in one last line, and nothing else breaks."""
    result = CliRunner().invoke(main, with_paths(case.words, places))
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == case.exit, result.output
    last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1]
    assert case.says in last
    assert "Traceback" not in result.output


@pytest.mark.parametrize("case", [case for cases in CASES.values() for case in cases], ids=lambda case: case.words)
def test_what_is_wrong_is_one_line(
    case: Case, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(case, places)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("read", "name"),
    [pytest.param(read, name, id=f"{read.kind}: {name}") for read in READS for name in read.inputs],
)
def test_unusual_files_are_read_right(read: Read, name: str, tmp_path: Path) -> None:
    read.check(name, tmp_path)


@pytest.mark.parametrize("found", FINDINGS, ids=lambda found: f"{found.kind}: {found.tried}")
def test_what_is_wrong_with_files_is_said(found: Found, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    found.make(tmp_path / "root")
    words = found.words.replace("ROOT", str(tmp_path / "root")).replace("OUT", str(tmp_path / "out"))
    result = CliRunner().invoke(main, words.split())
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == found.exit, result.output
    assert found.says in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, of which 4 are left."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, and a system that lets it mount")
    (place / "filler").write_bytes(bytes(60 << 10))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("case", DISK_FULL, ids=lambda case: case.words.split()[0])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    case: Case, places: dict[str, str], tmp_path: Path, disk: Path
) -> None:
    run(case, places | {"DISK": str(disk), "MISSING": str(tmp_path / "cache")})
    assert not list(disk.rglob("*.part"))
    assert not list(disk.rglob("*.onnx"))


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("before it is at work", marks=pytest.mark.slow),
        "at work",
        pytest.param("some time later", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", INTERRUPTED)
def test_ctrl_c_ends_at_once_with_130(name: str, moment: str, places: dict[str, str], tmp_path: Path) -> None:
    words, sign = INTERRUPTED[name]
    paths = places | {"CACHE": str(tmp_path / "cache"), "RUN": str(tmp_path / "run")}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "fastnas", *with_paths(words, paths)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed = ""
    if moment == "before it is at work":
        time.sleep(1.0)  # Python is up, PyTorch is being imported
    else:
        while sign not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        time.sleep(2.0 if moment == "some time later" else 0.0)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    # A shell shows both as 130. Python takes the latter where the signal met an `exec` of text, as dataclasses do it.
    assert process.returncode in (130, -signal.SIGINT), printed + rest
    assert "Traceback" not in printed + rest
    assert not list(tmp_path.rglob("*.part"))
    if name == "export":
        assert not list(tmp_path.rglob("model.json"))


def _tried(found: Found) -> str:
    """What was tried, with the command where it is not plain `data check`."""
    command = found.words.split(" --")[0].replace(" ROOT", "")
    mapped = " --mask-map" if "--mask-map" in found.words else ""
    return found.tried if command.startswith("data check") and not mapped else f"{found.tried}: `{command}{mapped}`"


def page() -> str:
    """The text of `docs/reliability.md`."""
    lines = [
        "# Reliability",
        "",
        "What commands do when something is wrong: they say it in one line, without a traceback, and leave nothing",
        "half written. Every row is a test: `pytest tests/repo/test_reliability.py`. This page is written by",
        "`python -m tests.repo.test_reliability`.",
        "",
        "Exit codes: 1 for what is wrong with the world, 2 for what is wrong with the words, 130 for Ctrl-C.",
        "",
        "MISSING is a path where nothing is, FOLDER an empty folder, FILE a text file, GARBAGE a file of random bytes,",
        "SYSTEM a folder that nobody can write, DISK a disk with 4 KiB left, MODEL and ARTIFACT what a training and",
        "an export wrote, NESTED, LINKED and NAMED artifacts whose JSON is nested 10,000 levels deep, whose graph is a",
        "link to another folder, and named `../../x`.",
    ]
    for title, cases in [*CASES.items(), ("The disk is full", DISK_FULL)]:
        lines += ["", f"## {title}", "", "| command | exit | it says |", "|---|---|---|"]
        for case in cases:
            words = case.words
            for long, short in ((SMALL_SEARCH, "search"), (SMALL_TRAINING, "train arch2")):
                words = words.replace(long, short)
            lines.append(f"| `fastnas {words}` | {case.exit} | ... {case.says} ... |")
    lines += [
        "", "## Files as people have them", "",
        "These are read right:", "",
        "| what | inputs tried | outcome |", "|---|---|---|",
        *(f"| {read.kind} | {len(read.inputs)}: {', '.join(read.inputs)} | {read.outcome} |" for read in READS),
        "", "These are found, by `data check` where no other command is named:", "",
        "| what | input tried | exit | it says |", "|---|---|---|---|",
        *(f"| {one.kind} | {_tried(one)} | {one.exit} | ... {one.says} ... |" for one in FINDINGS),
        "", "## Ctrl-C", "",
        f"`fastnas {'`, `fastnas '.join(INTERRUPTED)}`: before they are at work, at work, and some time later.",
        "Each ends within moments with exit code 130 and no traceback; `--resume` continues a search or a training,",
        "and an export leaves no artifact.",
        "", "## Killed, shared, unplugged", "",
        "| what happens | what follows | test |", "|---|---|---|",
        "| an export of each of ten formats is imported, checked and trained on | three commands, a trained network | "
        "test_importing.py |",
        "| COCO, LabelMe and Supervisely labels are changed at random | imported, or refused in one line | "
        "test_importing.py |",
        "| a loader process is killed, as for lack of memory | one line with what to lower | test_user_files.py |",
        "| stored encoder outputs, latencies or Docker's settings are damaged | one line with the file | "
        "test_evaluator.py, test_latency.py, test_doctor.py |",
        "| a graph of an artifact leaves weights in another file | one line, and nothing is read there | "
        "test_onnx_file.py |",
        "| a training is killed (SIGKILL) in mid-epoch | resumed, it ends the same | test_train.py |",
        "| a search, a training or an export is killed 100 times at random moments | nothing that was done is lost, "
        "nothing is left behind, and the end equals that of an undisturbed one | test_kills.py |",
        "| a process is killed while it replaces a file or an artifact | the old one or the new one is there, and the "
        "next one to write it removes the rest | test_files.py |",
        "| Ctrl-C at random moments, 10 for each of six commands, most while compiled packages are imported | exit "
        "code 130 without a traceback | test_kills.py |",
        "| a package is missing or does not load | one line with the command that installs it | test_commands.py |",
        "| a user id without an entry in passwd, or without HOME | one line where a home is needed; `doctor` says so | "
        "test_commands.py |",
        "| output as ASCII or Latin-1 | `?` for what cannot be shown | test_commands.py |",
        "| a download in torchvision's or timm's cache is damaged | one line with the file to delete, also where it "
        "still loads | test_networks.py |",
        "| a search is killed again and again | resumed, it ends the same | test_driver.py |",
        "| a process of a search is killed | its candidate is recorded as failed, another process takes its place | "
        "test_processes.py |",
        "| a Ray worker is killed | its candidate is tried again, three times in all | test_ray_workers.py |",
        "| a second search or training in the same folder | refused in one line | test_history.py, test_train.py |",
        "| an engine's build is killed | no engine is left, the next build starts anew | test_engines.py |",
        "| a camera stalls or is unplugged | said, and opened again with back-off | test_watch.py, "
        "test_process.py |",
        "| a client of the page stops reading | it loses frames, nobody else does | test_web.py |",
        "| 64 clients of the page send slowly | others, and the health check, are served in time | test_web.py |",
        "| any byte anywhere in a request | none gets into a header of the response | test_web.py |",
        "| a board sends anything as its report, log or listing | one line, bounded; no file leaves by a link | "
        "test_hostile_board.py |",
        "| an engine's name or record is anything | nothing is written outside the cache | test_engine_cache.py |",
        "| a million seeded mutations of sidecars, reports, engine records, requests, settings, histories and model "
        "headers | accepted, or refused in one line | test_hostile.py |",
        "| the SSH connection to a board breaks | one line here, no process left there | test_remote.py |",
        "| bytes of a model file, sidecar, genotype, address or setting are changed at random | one line, or it still "
        "reads | test_fuzz.py |",
        "",
        "What is being written has a hidden name, `.NAME.xxxxxxxx.part` with eight hexadecimal digits, and is locked",
        "(flock) by its process. The next process that writes NAME there removes those without a lock, which a kill",
        "left; on a file system without locks they stay. An older artifact is exchanged with the new one at once",
        "(`renameat2`); where that is missing, an artifact that a kill left without its name gets it back when it is",
        "next read or exported.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def test_the_page_is_of_these_tests() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.repo.test_reliability"


def test_the_tests_that_the_page_names_exist() -> None:
    import re

    for name in set(re.findall(r"test_\w+\.py", page())):
        assert list(Path(__file__).parents[1].rglob(name)), name


if __name__ == "__main__":
    PAGE.write_text(page())
