"""Pinning a board's clocks for a measurement, and putting them back whatever happens."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from typing import Any, Iterator, List, Tuple

from fastnas.jetson.engine.base import Log
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.power import highest, power_modes

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def pinned_clocks(wanted: bool, log: Log, root: str = "/") -> Iterator[None]:
    """With `wanted`: the highest power mode and `jetson_clocks`, read back; restored at the end, on errors and signals.

    `root` stands for `/`, where the power modes are named.

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
        mode, (wanted_mode, name) = _power_mode(), _highest_mode(root)
        _run(["jetson_clocks", "--store", stored])
        try:
            if mode != wanted_mode:
                _run(["nvpmodel", "-m", wanted_mode])
            if _power_mode() != wanted_mode:
                message = "the board did not take power mode {} ({}); some need a reboot: sudo nvpmodel -m {}"
                raise JetsonError(message.format(wanted_mode, name, wanted_mode))
            _run(["jetson_clocks"])
            log("clocks pinned (power mode {}: {}; before {})".format(wanted_mode, name, mode))
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


def _highest_mode(root: str) -> Tuple[str, str]:
    """The number and the name of the board's highest mode."""
    mode = highest(power_modes(root))
    if mode is None:
        raise JetsonError("/etc/nvpmodel.conf names no power mode; choose one with nvpmodel, without --pin-clocks")
    return str(mode.number), mode.name


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
