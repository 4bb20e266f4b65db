"""The device half's own command line: one line for an error, the traceback with --debug, and the exit codes."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from fastnas.jetson.commands import main
from fastnas.jetson.errors import JetsonError, import_package
from fastnas.jetson.files import PACKAGE

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


NO_HOME = [
    "setpriv",
    "--reuid=12345",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]
"""Runs a command as a user id without an entry in passwd, which may read what its tests may."""


@pytest.mark.parametrize(
    ("words", "variables", "code", "says"),
    [
        ("doctor", {}, 1, "user id 12345 has no home folder"),
        ("doctor", {"FASTNAS_CACHE": "relative/cache"}, None, "relative/cache"),
        ("jetson-bench MISSING", {}, 1, "is no artifact"),
    ],
)
def test_a_user_without_a_home_is_told_so(words, variables, code, says, tmp_path):
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv")
    where = os.path.dirname(os.path.dirname(PACKAGE))
    environment = dict({"PATH": os.environ["PATH"], "PYTHONPATH": where, "PYTHONDONTWRITEBYTECODE": "1"}, **variables)
    command = NO_HOME + [sys.executable, "-m", "fastnas.jetson"] + words.split()
    done = subprocess.run(
        command, env=environment, cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
        universal_newlines=True,
    )  # fmt: skip
    assert code is None or done.returncode == code, done.stdout
    assert says in done.stdout
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_is_replaced(encoding):
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(PACKAGE)), PYTHONIOENCODING=encoding)
    command = [sys.executable, "-m", "fastnas.jetson", "jetson-bench", "é日"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1
    shown = {"ascii": "??", "latin-1": "é?", "utf-8": "é日"}[encoding]
    assert done.stderr.decode(encoding).startswith("Error: {} is no artifact".format(shown))


@pytest.mark.parametrize("error", [ImportError("initialization failed"), AttributeError("half a module")])
def test_an_interrupt_without_a_trace_in_the_error_is_one(monkeypatch, error):
    def fail(machine):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            pass  # as compiled modules lose it
        raise error

    monkeypatch.setattr("fastnas.jetson.system.doctor.examine", fail)
    done = run("doctor")
    assert (done.exit_code, done.output.strip()) == (130, "Interrupted.")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_recorded_for_others(tmp_path):
    """ONNX Runtime would leave files of its telemetry in the home folder and beside temporary files."""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment.update(HOME=str(tmp_path), TMPDIR=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    environment["PYTHONPATH"] = os.path.dirname(os.path.dirname(PACKAGE))
    done = subprocess.run(
        [sys.executable, "-m", "fastnas.jetson", "doctor"], env=environment, stdout=subprocess.PIPE, timeout=120
    )
    assert b"ONNX Runtime: " in done.stdout
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("module", ["fastnas", "fastnas.jetson"])
def test_ctrl_c_while_the_command_line_is_imported_has_no_traceback(tmp_path, module):
    """A stand-in for click, the first package that is imported, that takes its time."""
    if importlib.util.find_spec(module + ".__main__") is None:
        pytest.skip(module + " is not here")
    (tmp_path / "click.py").write_text("print('here', flush=True)\nimport time\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), os.path.dirname(os.path.dirname(PACKAGE))])
    process = subprocess.Popen(
        [sys.executable, "-m", module, "doctor"],
        env=dict(os.environ, PYTHONPATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == b""
    assert process.returncode == -signal.SIGINT


@pytest.mark.skipif(sys.version_info < (3, 8), reason="Python 3.8 lets us see what is dropped")
def test_an_interrupt_that_python_drops_is_raised_again(monkeypatch, capfd):
    class Dropping:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)  # never: what is raised here goes nowhere

    def examine(machine):
        Dropping()
        time.sleep(10)
        return {}

    monkeypatch.setattr("fastnas.jetson.system.doctor.examine", examine)
    hook = sys.unraisablehook
    done = run("doctor")
    assert (done.exit_code, done.output.strip()) == (130, "Interrupted.")
    assert sys.unraisablehook is hook
    assert capfd.readouterr().err == ""


def test_an_interrupt_that_an_import_loses_is_raised_after_it(monkeypatch):
    def load(name):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            pass

    monkeypatch.setattr("fastnas.jetson.system.doctor.examine", lambda machine: import_package("cv2", "{}"))
    monkeypatch.setattr("importlib.import_module", load)
    done = run("doctor")
    assert (done.exit_code, done.output.strip()) == (130, "Interrupted.")
