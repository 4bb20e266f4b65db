"""Pinning a board's clocks for a measurement, and putting them back whatever happens."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from typing import Any, Iterator, List

from fastnas.jetson.engine.base import Log
from fastnas.jetson.errors import JetsonError

HIGHEST_MODE = "0"
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def pinned_clocks(wanted: bool, log: Log) -> Iterator[None]:
    """With `wanted`: power mode 0 and `jetson_clocks`, read back; restored at the end, on errors and on signals.

    Raises:
        JetsonError: this is no Jetson, root is missing, or the board did not take the settings.
    """
    if not wanted:
        yield
        return
    for tool in ("nvpmodel", "jetson_clocks"):
        if shutil.which(tool) is None:
            raise JetsonError("--pin-clocks needs {}, which only a Jetson has".format(tool))
    previous = {number: signal.signal(number, _leave) for number in SIGNALS}
    folder = tempfile.mkdtemp(prefix="fastnas-clocks-")
    stored = os.path.join(folder, "clocks")
    try:
        mode = _power_mode()
        _run(["jetson_clocks", "--store", stored])
        try:
            if mode != HIGHEST_MODE:
                _run(["nvpmodel", "-m", HIGHEST_MODE])
            if _power_mode() != HIGHEST_MODE:
                raise JetsonError("the board did not take power mode {}; some modes need a reboot".format(HIGHEST_MODE))
            _run(["jetson_clocks"])
            log("clocks pinned (power mode {}, before {})".format(HIGHEST_MODE, mode))
            yield
        finally:
            # A second signal must not leave the board half restored.
            for number in SIGNALS + (signal.SIGINT,):
                previous.setdefault(number, signal.getsignal(number))
                signal.signal(number, signal.SIG_IGN)
            if mode != _power_mode():
                _run(["nvpmodel", "-m", mode])
            _run(["jetson_clocks", "--restore", stored])
            log("clocks restored")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave(number: int, frame: Any) -> None:
    """Turn a signal into an exception, so that `finally` clauses run."""
    raise SystemExit(128 + number)


def _power_mode() -> str:
    """The current mode's number: the last line of `nvpmodel -q`."""
    found = re.findall(r"^(\d+)\s*$", _run(["nvpmodel", "-q"]), re.MULTILINE)
    if not found:
        raise JetsonError("nvpmodel -q does not print the power mode")
    return str(found[-1])


def _run(command: List[str]) -> str:
    """Run a tool of the board, with sudo where needed; its standard output."""
    if os.geteuid() != 0 and command[-1] != "-q":
        command = ["sudo", "-n"] + command
    # "no" answers the question whether to reboot, which some mode changes ask.
    done = subprocess.run(
        command, input="no\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60
    )
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["exit {}".format(done.returncode)]
        raise JetsonError("{} failed: {}".format(" ".join(command), reason[-1]))
    return done.stdout
