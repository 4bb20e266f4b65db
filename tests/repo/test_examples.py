"""The examples run as they stand, each in a process of its own, and say what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastnas.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_five_at_most_and_each_is_tested() -> None:
    assert EXAMPLES == ["own_dataset", "own_encoder", "own_operation", "own_reward", "robot"]


@pytest.mark.slow
def test_own_dataset_learns(tmp_path: Path) -> None:
    printed = run("own_dataset", tmp_path)
    first, last = (float(value) for value in re.findall(r"mean IoU ([\d.]+)", printed))
    assert 0.7 < last > first
    assert (tmp_path / "model.safetensors").is_file()


def test_own_encoder_is_counted() -> None:
    """By hand: the tiny one has 3 -> 16 -> 16 -> 32 -> 64 -> 128, each 3x3 with batch norm."""
    tiny, mobilenet = (int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) parameters", run("own_encoder")))
    encoder = sum(9 * i * o + 2 * o for i, o in [(3, 16), (16, 16), (16, 32), (32, 64), (64, 128)])
    assert encoder < tiny < mobilenet


def test_own_operation_is_drawn(tmp_path: Path) -> None:
    printed = run("own_operation", tmp_path)
    assert len(re.findall(r"reward 0\.\d+, \d of 7 operations are sep7x7", printed)) == 4


@pytest.mark.slow
def test_own_reward_is_learned_from(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert len(re.findall(r"candidate \d: [\d.]+ ms, reward ", run("own_reward", tmp_path))) == 3


def test_robot_steers(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    small = ["--channels", "8", "--sep-repeats", "1", "--res", "128", "--out", str(tmp_path)]
    exported = CliRunner().invoke(main, ["export", "arch2", *small])
    assert exported.exit_code == 0, exported.output
    assert len(re.findall(r"steer [+-]\d\.\d\d, [\d.]+ ms", run("robot", tmp_path / "arch2"))) == 20
