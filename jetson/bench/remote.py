"""Measuring on a board from the host: send the device half and the artifacts over SSH, run there, fetch the report.

Only the system's `ssh` is used, so keys, jump hosts and aliases of ~/.ssh/config work; on the board `sh`, `tar`,
`sha256sum` and Python are enough. What is already there, by checksum, is not copied again: after a broken connection
the next call sends what is missing. The files stay under the cache folder on the board, `~/.cache/fastnas/remote`.
"""

import glob
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from fastnas.jetson.bench.measure import Settings, Workload
from fastnas.jetson.bench.report import check_report
from fastnas.jetson.engine.base import Log
from fastnas.jetson.errors import ConnectionLost, JetsonError
from fastnas.jetson.files import PACKAGE, sha256_of
from fastnas.jetson.sidecar import FILE_NAME, load

FOLDER = '"${FASTNAS_CACHE:-$HOME/.cache/fastnas}"/remote'
"""The folder on the board, as its shell reads it: under `files.cache_root`."""
PYTHON = "python3"
CONNECTION_LOST = 255
COPY_TRIES = 3


class Board:
    """A board that `ssh` reaches; open it with `connect`.

    Attributes:
        host: as `ssh` takes it, `user@name` or an alias.
    """

    def __init__(self, host: str, port: int, control: str) -> None:
        if host.startswith("-") or not host:
            raise JetsonError("{!r} is no host; give USER@NAME".format(host))
        self.host = host
        self._ssh = ["ssh", "-p", str(port)]
        # One connection for all commands; a dead board is noticed after 15 s instead of never.
        for option in ("ControlMaster=auto", "ControlPath=" + control, "ControlPersist=60", "ConnectTimeout=15"):
            self._ssh += ["-o", option]
        self._ssh += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]

    def run(self, command: str, given: bytes = b"") -> bytes:
        """The standard output of a shell command on the board, with `given` as its input.

        Raises:
            ConnectionError: the connection broke or could not be made.
            JetsonError: the command failed.
        """
        done = subprocess.run(
            self._ssh + ["--", self.host, command], input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._check(done.returncode, done.stderr.decode("utf-8", "replace"))
        return done.stdout

    def watch(self, command: str, log: Log) -> None:
        """Run a command there, logging its lines as they come. It ends with the connection and with this process.

        Raises:
            ConnectionError, JetsonError: as `run`.
        """
        # A terminal (-tt) is what makes the far side hang up the command when the connection is lost.
        child = subprocess.Popen(
            self._ssh + ["-tt", "--", self.host, command],
            stdin=subprocess.PIPE,  # held open: the end of input would reach the terminal as Ctrl-D
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        last = ""
        try:
            assert child.stdout is not None
            for line in child.stdout:
                last = line.strip() or last
                if line.strip():
                    log(line.rstrip())
            child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        self._check(child.returncode, last)

    def _check(self, code: int, output: str) -> None:
        """Turn an exit code into an error, with the last line of the command's output."""
        if code == 0:
            return
        last = (output.strip().splitlines() or ["exit {}".format(code)])[-1]
        if code == CONNECTION_LOST:
            raise ConnectionError(last)
        raise JetsonError("{}: {}".format(self.host, last))

    def close(self) -> None:
        """End the shared connection."""
        command = self._ssh + ["-O", "exit", "--", self.host]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def connect(host: str, port: int) -> Iterator[Board]:
    """A board for the length of a `with`; a lost connection becomes a JetsonError with advice."""
    if shutil.which("ssh") is None:
        raise JetsonError("ssh is not installed; run: sudo apt-get install openssh-client")
    # In /tmp, for the path of a socket may have 104 characters at most.
    with tempfile.TemporaryDirectory(prefix="fastnas-") as folder:
        board = Board(host, port, os.path.join(folder, "ssh"))
        try:
            yield board
        except ConnectionError as error:
            message = "no connection to {} port {}: {}; run it again, what was copied stays there"
            raise ConnectionLost(message.format(host, port, error)) from error
        finally:
            board.close()


def measure_there(
    host: str,
    port: int,
    workloads: Sequence[Workload],
    settings: Settings,
    pin_clocks: bool,
    folder: Optional[str],
    log: Log,
) -> Dict[str, Any]:
    """The report of a benchmark on a board.

    Args:
        host: `USER@NAME` or an alias of ~/.ssh/config.
        port: of SSH.
        workloads: what to measure.
        settings: passes, rounds and the engine.
        pin_clocks: whether to pin the board's clocks meanwhile.
        folder: of images to send along, or None for generated ones.
        log: receives lines about progress.

    Raises:
        ConnectionLost: the connection broke, or could not be made.
        JetsonError: the command on the board fails; its error is the line.
    """
    with connect(host, port) as board:
        images = _images(folder) if folder else {}
        _copy(board, dict(_files(workloads), **images), log)
        report = "report-{}.json".format(uuid.uuid4().hex)
        command = [PYTHON, "-m", "fastnas.jetson", "measure", json.dumps(_request(workloads, settings, images))]
        command += ["--report", report] + ["--pin-clocks"] * pin_clocks
        enter = "cd {} && ".format(FOLDER)
        try:
            # On Python 3.6 click refuses to run without a locale that knows UTF-8.
            variables = "PYTHONPATH=. PYTHONUNBUFFERED=1 LC_ALL=C.UTF-8 "
            board.watch(enter + "exec env " + variables + " ".join(map(shlex.quote, command)), log)
            text = board.run(enter + "cat " + report)
        finally:
            with suppress(ConnectionError, JetsonError):  # the error that is already on its way matters more
                board.run(enter + "rm -f " + report)
    return check_report(json.loads(text.decode("utf-8")), "the report of " + host)


def _request(workloads: Sequence[Workload], settings: Settings, images: Dict[str, str]) -> Dict[str, Any]:
    """The argument of `measure` on the board: workloads, settings and the folder of images there."""
    listed = [[_place(workload), list(workload.size), workload.precision] for workload in workloads]
    folder = os.path.dirname(next(iter(images))) if images else None
    return {"workloads": listed, "settings": settings.to_dict(), "images": folder}


def read_request(text: str) -> Tuple[Sequence[Workload], Settings, Optional[str]]:
    """Read `_request`'s values: workloads, settings, and the folder of images or None."""
    values = json.loads(text)
    workloads = [Workload(load(folder), (height, width), name) for folder, (height, width), name in values["workloads"]]
    return workloads, Settings.from_dict(values["settings"]), values["images"]


def _place(workload: Workload) -> str:
    """The folder of an artifact there; two artifacts of one name stay apart."""
    folder = os.path.abspath(workload.artifact.folder)
    return "artifacts/{}-{}".format(os.path.basename(folder), _digest(os.fsencode(folder))[:8])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _files(workloads: Sequence[Workload]) -> Dict[str, str]:
    """The path here of every file that must be there, by its path there."""
    files = {"fastnas/__init__.py": os.devnull}  # a full package, so that no other fastnas there is taken instead
    for path in glob.glob(os.path.join(glob.escape(PACKAGE), "**", "*.py"), recursive=True):
        files["fastnas/jetson/" + os.path.relpath(path, PACKAGE).replace(os.sep, "/")] = path
    for workload in workloads:
        artifact = workload.artifact
        for name in [FILE_NAME] + [file.path for file in artifact.sidecar.files]:
            files[_place(workload) + "/" + name] = os.path.join(artifact.folder, name)
    return files


def _images(folder: str) -> Dict[str, str]:
    """The first images of a folder, by their path there; a folder of its own for each set of names and contents."""
    paths = [path for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*"))) if os.path.isfile(path)][:8]
    digest = _digest("".join(path + sha256_of(path) for path in paths).encode())[:16]
    return {"images/{}/{}".format(digest, os.path.basename(path)): path for path in paths}


def _copy(board: Board, files: Dict[str, str], log: Log) -> None:
    """Send what is not there yet, trying again after a broken connection, for it resumes."""
    for attempt in range(COPY_TRIES):
        try:
            missing = _missing(board, files)
            if missing:
                log("copying {} files to {}".format(len(missing), board.host))
                board.run("mkdir -p {0} && tar -xf - -C {0}".format(FOLDER), _archive(missing))
            return
        except ConnectionError as error:
            if attempt == COPY_TRIES - 1:
                raise
            log("the connection broke ({}); trying again".format(error))


def _missing(board: Board, files: Dict[str, str]) -> Dict[str, bytes]:
    """The contents of the files that the board lacks or has otherwise, a half-copied one included."""
    listing = board.run("mkdir -p {0} && cd {0} && find . -type f -exec sha256sum {{}} +".format(FOLDER))
    lines = (line.partition("  ") for line in listing.decode("utf-8", "replace").splitlines())
    there = {name[2:]: digest for digest, _, name in lines}
    missing = {}
    for name, path in files.items():
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            raise JetsonError("cannot read {}: {}".format(path, error.strerror)) from error
        if there.get(name) != _digest(content):
            missing[name] = content
    return missing


def _archive(contents: Dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
