"""The command line: lazy, frozen, and one line for every error."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fastnas import __version__
from fastnas.cli import COMMANDS, main
from fastnas.errors import FastnasError
from fastnas.jetson.errors import JetsonError
from tests.helpers.commands import options

FROZEN = Path(__file__).parent / "cli_options.json"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_options_are_frozen() -> None:
    """A changed option is a changed promise: `python -m tests.core.test_cli` writes the new ones down."""
    assert options() == json.loads(FROZEN.read_text())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_complete_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    result = run(name, "--help")
    assert result.exit_code == 0
    assert command.get_short_help_str(limit=200) == COMMANDS[name].summary
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    for each in commands:
        assert all(p.help for p in each.params if isinstance(p, click.Option)), each.name


def test_help_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "matplotlib", "rich", "onnx", "onnxruntime", "cv2"}
    code = f"import sys, fastnas.cli; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_takes_less_than_300_ms_of_cpu() -> None:
    """In one of three tries: a core that is shared with others is slower."""

    def spent() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "fastnas", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert any(spent() < 0.3 for _ in range(3))


def test_version() -> None:
    assert run("--version").output == f"fastnas {__version__}\n"


def test_completion() -> None:
    environment = {**os.environ, "_FASTNAS_COMPLETE": "bash_complete", "COMP_WORDS": "fastnas sh", "COMP_CWORD": "1"}
    code = "from fastnas.cli import main; main(prog_name='fastnas')"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == "plain,show\n"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["shw"], 2, "Error: No such command 'shw'"),
        (["show"], 2, "Error: Missing argument"),
        (["show", "arch0", "--res", "0"], 2, "Error: Invalid value for '--res'"),
        (["show", "arch0", "--res", "4x"], 2, "Error: Invalid value for '--res'"),
        (["show", "arch9"], 1, "Error: no architecture 'arch9'; known are arch0"),
        (["show", "[[[9,3],[3,2],[3,0]],[8,[0,0,5,2],[0,2,8,8],[0,5,1,4]]]"], 1, "connection 1: index 9"),
        (["show", "absent.safetensors"], 1, "Error: no model file absent.safetensors"),
        (["show", "arch0", "--encoder", "vgg"], 1, "Error: encoder 'vgg' is not one of"),
        (["show", "arch0", "--draw", "/proc/x"], 1, "Error: cannot write /proc/x/arch0.svg"),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, line: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command", ["show arch9", "jetson-bench absent", "camera absent --source test://", "doctor"], ids=str
)
def test_debug_shows_the_traceback_and_without_it_there_is_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise JetsonError("the doctor is ill")

    monkeypatch.setattr("fastnas.jetson.system.doctor.examine", broken)
    debugged, plain = run("--debug", *command.split()), run(*command.split())
    assert isinstance(debugged.exception, FastnasError)
    assert isinstance(plain.exception, SystemExit)
    assert plain.exit_code == 1
    assert plain.stderr == f"Error: {debugged.exception}\n"


def test_show_prints_the_public_counts() -> None:
    result = run("show", "arch0", "--res", "512")
    assert result.exit_code == 0, result.output
    assert "[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]\n" in result.output
    for text in ("2,626,645", "4.133 G", "128x128 output", "2,629,909", "4.208 G", "9 = gap(5)"):
        assert text in result.output


def test_show_json_and_drawings(tmp_path: Path) -> None:
    result = run("show", "arch1", "--res", "360x480", "--task", "depth", "--draw", str(tmp_path), "--json")
    shown = json.loads(result.stdout)
    assert shown["counts"]["output"] == [45, 60]
    assert shown["public_definition"]["parameters"] == 2_798_593
    assert [Path(p).name for p in shown["drawings"]] == ["arch1.svg", "arch1.png"]
    svg = (tmp_path / "arch1.svg").read_bytes()
    assert b"<svg" in svg
    assert (tmp_path / "arch1.png").read_bytes().startswith(b"\x89PNG")
    run("show", "arch1", "--draw", str(tmp_path))
    assert (tmp_path / "arch1.svg").read_bytes() == svg  # the same genotype gives the same bytes


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(options(), indent=2) + "\n")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_examples_in_the_help_stay_one_a_line(name: str) -> None:
    """Click keeps a block's lines behind the backspace character; in a raw docstring there is none, and it shows."""
    assert "\\b" not in run(name, "--help").output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("train", "arch0", "--accelerator", "gpu7"), "'gpu7' is not one of"),
        (("train", "arch0", "--accelerator", "cuda"), "no CUDA GPU"),
        (("train", "arch0", "--devices", "0"), "neither a number of processes"),
        (("train", "arch0", "--devices", "all"), "neither a number of processes"),
        (("eval", "model.safetensors", "--accelerator", "gpu7"), "'gpu7' is not one of"),
        (("search", "--accelerator", "gpu7", "--out", "never"), "'gpu7' is not one of"),
        (("search", "--accelerator", "cuda", "--out", "never"), "no CUDA GPU"),
    ],
)
def test_devices_that_are_not_there_are_refused_before_anything_begins(
    arguments: tuple[str, ...], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = run(*arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("command", "name"), [("train", "decoder.lr"), ("search", "evaluation.stage1_batch")])
def test_set_help_lists_the_settings(command: str, name: str) -> None:
    result = run(command, "--set", "help")
    assert result.exit_code == 0
    assert f"{name} (" in result.stdout
