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
import threading
import uuid
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from fastnas.jetson.bench.measure import Settings, Workload
from fastnas.jetson.bench.report import check_report
from fastnas.jetson.checks import (
    LINE_BYTES,
    LISTING_BYTES,
    REPORT_BYTES,
    ROWS,
    SIDE,
    Fields,
    parse_json,
    read_stream,
    require_inside,
)
from fastnas.jetson.engine.base import Log
from fastnas.jetson.errors import ConnectionLost, JetsonError, one_line
from fastnas.jetson.files import PACKAGE, sha256_of
from fastnas.jetson.options import parse_host
from fastnas.jetson.sidecar import FILE_NAME, PRECISIONS, load

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
        try:
            self.host = parse_host(host)
        except ValueError as error:
            raise JetsonError(str(error)) from error
        self._ssh = ["ssh", "-p", str(port)]
        # One connection for all commands; a dead board is noticed after 15 s instead of never.
        for option in ("ControlMaster=auto", "ControlPath=" + control, "ControlPersist=60", "ConnectTimeout=15"):
            self._ssh += ["-o", option]
        self._ssh += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]

    def run(self, command: str, given: bytes = b"", most: int = LINE_BYTES) -> bytes:
        """The standard output of a shell command on the board, with `given` as its input.

        Raises:
            ConnectionError: the connection broke or could not be made.
            JetsonError: the command failed, or its output has more than `most` bytes.
        """
        with tempfile.TemporaryFile() as file:
            file.write(given)
            file.seek(0)
            child = subprocess.Popen(
                self._ssh + ["--", self.host, command], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        errors = LastBytes(child.stderr)
        with _ended(child):
            assert child.stdout is not None
            output = read_stream(child.stdout, most)
            if len(output) > most:
                raise JetsonError("{} sends more than the {} bytes that are read".format(self.host, most))
            child.wait()
        self._check(child.returncode, errors.text())
        return output

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
        )
        last = ""
        with _ended(child):
            assert child.stdout is not None
            for data in iter(lambda: child.stdout.readline(LINE_BYTES), b""):  # type: ignore[union-attr]
                line = one_line(data.decode("utf-8", "replace").rstrip())
                if line.strip():
                    last = line.strip()
                    log(line)
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


class LastBytes:
    """Reads a stream to its end in a thread of its own, and keeps the last of it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._kept = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for data in iter(lambda: self._stream.read1(LINE_BYTES), b""):
            self._kept = (self._kept + data)[-LINE_BYTES:]
        self._stream.close()

    def text(self) -> str:
        """What was kept, once the stream has ended."""
        self._thread.join(1)  # a connection that is shared may hold it open
        return self._kept.decode("utf-8", "replace")


@contextmanager
def _ended(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End a child process with the context, if it has not ended by then."""
    try:
        yield
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()


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
            data = board.run(enter + "cat " + report, most=REPORT_BYTES)
        finally:
            with suppress(ConnectionError, JetsonError):  # the error that is already on its way matters more
                board.run(enter + "rm -f " + report)
    where = "the report of " + host
    return check_report(parse_json(data, where), where)


def _request(workloads: Sequence[Workload], settings: Settings, images: Dict[str, str]) -> Dict[str, Any]:
    """The argument of `measure` on the board: workloads, settings and the folder of images there."""
    listed = [[_place(workload), list(workload.size), workload.precision] for workload in workloads]
    folder = os.path.dirname(next(iter(images))) if images else None
    return {"workloads": listed, "settings": settings.to_dict(), "images": folder}


def read_request(text: str) -> Tuple[Sequence[Workload], Settings, Optional[str]]:
    """Read `_request`'s values: workloads, settings, and the folder of images or None.

    Raises:
        JetsonError: it is no request.
    """
    fields = Fields(parse_json(text, "the request"), "the request")
    workloads = fields.take_list("workloads", _read_workload, within=ROWS)
    settings = Settings.from_dict(fields.take("settings", dict))
    return workloads, settings, fields.take("images", str, optional=True)


def _read_workload(values: Any, where: str) -> Workload:
    if not isinstance(values, list) or len(values) != 3:
        raise JetsonError("{} must be a folder, a size and a precision".format(where))
    fields = Fields(dict(zip(("folder", "size", "precision"), values)), where)
    height, width = fields.take_list("size", int, count=2, each=SIDE)
    return Workload(load(fields.take("folder", str)), (height, width), fields.take("precision", str, PRECISIONS))


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
        artifact, place = workload.artifact, _place(workload) + "/"
        files[place + FILE_NAME] = os.path.join(artifact.folder, FILE_NAME)
        for file in artifact.sidecar.files:  # nothing but what was exported leaves this machine
            files[place + file.path] = artifact.verified_path(file)
    return files


def _images(folder: str) -> Dict[str, str]:
    """The first images of a folder, by their path there; a folder of its own for each set of names and contents."""
    paths = [path for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*"))) if os.path.isfile(path)][:8]
    for path in paths:
        require_inside(path, folder)
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
    command = "mkdir -p {0} && cd {0} && find . -type f -exec sha256sum {{}} +".format(FOLDER)
    listing = board.run(command, most=LISTING_BYTES)
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
