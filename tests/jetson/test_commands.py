"""The device half's own command line: one line for an error, the traceback with --debug, and the exit codes."""

import pytest
from click.testing import CliRunner

from fastnas.jetson.commands import main
from fastnas.jetson.errors import JetsonError

COMMANDS = ("jetson-bench absent", "camera absent --source test://", "doctor")


@pytest.fixture(autouse=True)
def ill_doctor(monkeypatch):
    def examine(machine):
        raise JetsonError("no machine")

    monkeypatch.setattr("fastnas.jetson.system.doctor.examine", examine)


def run(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_error_is_one_line(command):
    done = run(*command.split())
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_debug_shows_the_traceback(command):
    assert isinstance(run("--debug", *command.split()).exception, JetsonError)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(28, "No space left on device", "/disk/x"), 1, "Error: /disk/x: No space left on device\n"),
        (ModuleNotFoundError("No module", name="numpy"), 1, "Error: numpy is not installed; run: pip3 install numpy"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_other_errors_that_a_user_can_act_on(monkeypatch, error, code, line):
    def fail(machine):
        raise error

    monkeypatch.setattr("fastnas.jetson.system.doctor.examine", fail)
    done = run("doctor")
    assert done.exit_code == code
    assert done.output.strip().startswith(line.strip())


def test_an_interrupt_that_a_compiled_module_turned_into_an_import_error_is_one(monkeypatch):
    def fail(machine):
        cause = ImportError("initialization failed")
        cause.__cause__ = KeyboardInterrupt()
        raise JetsonError("ONNX Runtime does not load (initialization failed)") from cause

    monkeypatch.setattr("fastnas.jetson.system.doctor.examine", fail)
    done = run("doctor")
    assert (done.exit_code, done.output.strip()) == (130, "Interrupted.")


def test_an_error_of_the_code_itself_is_not_hidden(monkeypatch):
    def fail(machine):
        raise ZeroDivisionError

    monkeypatch.setattr("fastnas.jetson.system.doctor.examine", fail)
    assert isinstance(run("doctor").exception, ZeroDivisionError)


def test_wrong_usage_exits_with_2():
    done = run("jetson-bench", "--res", "5x")
    assert done.exit_code == 2
    assert "(see " in done.output
