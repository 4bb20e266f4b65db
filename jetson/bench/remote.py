"""Measuring on a board from the host: send the device half and the artifacts over SSH, run there, fetch the report.

Only the system's `ssh` is used, so keys, jump hosts and aliases of ~/.ssh/config work; on the board `sh`, `tar`,
`sha256sum` and Python are enough. What is already there, by checksum, is not copied again: after a broken connection
the next call sends what is missing. The files stay under the cache folder on the board, `~/.cache/fastnas/remote`.
"""

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
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

from fastnas.jetson.bench.measure import Settings, Subject
from fastnas.jetson.bench.report import check_report
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.files import PACKAGE, sha256_of
from fastnas.jetson.sidecar import FILE_NAME, load

FOLDER = '"${FASTNAS_CACHE:-$HOME/.cache/fastnas}"/remote'
"""The shell's word for the folder on the board; as `files.cache_root` has it there."""
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

    def run(self, command: str, given: bytes = b"", accept: Sequence[int] = (0,)) -> bytes:
        """The standard output of a shell command there.

        Raises:
            ConnectionError: the connection broke or could not be made.
            JetsonError: the command failed.
        """
        done = subprocess.run(
            self._ssh + ["--", self.host, command], input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.check(done.returncode, done.stderr.decode("utf-8", "replace"), accept)
        return done.stdout

    def watch(self, command: str, say: Callable[[str], None], accept: Sequence[int]) -> None:
        """Run a command there, passing on its lines as they come. It is hung up when the connection or we end.

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
                    say(line.rstrip())
            child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        self.check(child.returncode, last, accept)

    def check(self, code: int, words: str, accept: Sequence[int]) -> None:
        """Turn an exit code into an error, with the last words of the far side."""
        if code in accept:
            return
        last = (words.strip().splitlines() or ["exit {}".format(code)])[-1]
        if code == CONNECTION_LOST:
            raise ConnectionError(last)
        raise JetsonError("{}: {}".format(self.host, last))

    def close(self) -> None:
        """End the shared connection."""
        command = self._ssh + ["-O", "exit", "--", self.host]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def connect(host: str, port: int) -> Iterator[Board]:
    """A board for the length of a `with`; a lost connection becomes a line that says what to do."""
    if shutil.which("ssh") is None:
        raise JetsonError("ssh is not installed; run: sudo apt-get install openssh-client")
    # In /tmp, for the path of a socket may have 104 characters at most.
    with tempfile.TemporaryDirectory(prefix="fastnas-") as folder:
        board = Board(host, port, os.path.join(folder, "ssh"))
        try:
            yield board
        except ConnectionError as error:
            message = "no connection to {} port {}: {}; run it again, what was copied stays there"
            raise JetsonError(message.format(host, port, error)) from error
        finally:
            board.close()


def measure_there(
    host: str,
    port: int,
    subjects: Sequence[Subject],
    settings: Settings,
    pin_clocks: bool,
    images: Optional[str],
    say: Callable[[str], None],
) -> Dict[str, Any]:
    """The report of a benchmark on a board.

    Args:
        host: `USER@NAME` or an alias of ~/.ssh/config.
        port: of SSH.
        subjects: what to measure.
        settings: how.
        pin_clocks: whether to pin the board's clocks meanwhile.
        images: a folder of pictures to send along, or None for made ones.
        say: receives lines about progress.

    Raises:
        JetsonError: no connection, or the board refuses; what it said is the line.
    """
    with connect(host, port) as board:
        pictures = _pictures(images) if images else {}
        files = dict(_files(subjects), **pictures)
        _copy(board, files, say)
        report = "report-{}.json".format(uuid.uuid4().hex)
        words = [PYTHON, "-m", "fastnas.jetson", "measure", json.dumps(_request(subjects, settings, pictures))]
        words += ["--report", report] + ["--pin-clocks"] * pin_clocks
        enter = "cd {} && ".format(FOLDER)
        try:
            # On Python 3.6 click refuses to run without a locale that knows UTF-8.
            variables = "PYTHONPATH=. PYTHONUNBUFFERED=1 LC_ALL=C.UTF-8 "
            board.watch(enter + "exec env " + variables + " ".join(map(shlex.quote, words)), say, (0,))
            text = board.run(enter + "cat " + report)
        finally:
            _forget(board, enter + "rm -f " + report)
    return check_report(json.loads(text.decode("utf-8")), "the report of " + host)


def _request(subjects: Sequence[Subject], settings: Settings, pictures: Dict[str, str]) -> Dict[str, Any]:
    """What `measure` on the board takes: the subjects and the pictures with their folders there."""
    listed = [[_place(subject), list(subject.size), subject.precision] for subject in subjects]
    images = os.path.dirname(next(iter(pictures))) if pictures else None
    return {"subjects": listed, "settings": dict(settings._asdict()), "images": images}


def _place(subject: Subject) -> str:
    """The folder of an artifact there; two artifacts of one name stay apart."""
    folder = os.path.abspath(subject.artifact.folder)
    digest = hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return "artifacts/{}-{}".format(os.path.basename(folder), digest)


def _files(subjects: Sequence[Subject]) -> Dict[str, str]:
    """The path here of every file that must be there, by its path there."""
    files = {"fastnas/__init__.py": os.devnull}  # a full package, so that no other fastnas there is taken instead
    for folder, _, names in os.walk(PACKAGE):
        for name in names:
            if name.endswith(".py") and name != "setup.py":
                path = os.path.join(folder, name)
                files["fastnas/jetson/" + os.path.relpath(path, PACKAGE).replace(os.sep, "/")] = path
    for subject in subjects:
        artifact = subject.artifact
        for name in [FILE_NAME] + [file.path for file in artifact.sidecar.files]:
            files[_place(subject) + "/" + name] = os.path.join(artifact.folder, name)
    return files


def _pictures(folder: str) -> Dict[str, str]:
    """The first pictures of a folder, by their path there; a folder of its own for each set of names and contents."""
    paths = [
        path for path in (os.path.join(folder, name) for name in sorted(os.listdir(folder))) if os.path.isfile(path)
    ]
    digest = hashlib.sha256("".join(path + sha256_of(path) for path in paths[:8]).encode()).hexdigest()[:16]
    return {"images/{}/{}".format(digest, os.path.basename(path)): path for path in paths[:8]}


def _copy(board: Board, files: Dict[str, str], say: Callable[[str], None]) -> None:
    """Send what is not there yet, trying again after a broken connection, for it resumes."""
    for attempt in range(COPY_TRIES):
        try:
            missing = _missing(board, files)
            if missing:
                say("copying {} files to {}".format(len(missing), board.host))
                board.run("mkdir -p {0} && tar -xf - -C {0}".format(FOLDER), _archive(missing))
            return
        except ConnectionError as error:
            if attempt == COPY_TRIES - 1:
                raise
            say("the connection broke ({}); trying again".format(error))


def _missing(board: Board, files: Dict[str, str]) -> Dict[str, bytes]:
    """The contents of the files that the board lacks or has otherwise, a half-copied one included."""
    listing = board.run("mkdir -p {0} && cd {0} && find . -type f -exec sha256sum {{}} +".format(FOLDER))
    there = {}
    for line in listing.decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        there[name[2:]] = digest
    missing = {}
    for name, path in files.items():
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            raise JetsonError("cannot read {}: {}".format(path, error.strerror)) from error
        if there.get(name) != hashlib.sha256(content).hexdigest():
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


def _forget(board: Board, command: str) -> None:
    """Clean up there if it can be reached; the error that is already on its way matters more."""
    try:
        board.run(command)
    except (ConnectionError, JetsonError):
        pass


def read_request(text: str) -> Tuple[Sequence[Subject], Settings, Optional[str]]:
    """What `_request` wrote: subjects, settings, and the folder of pictures or None."""
    values = json.loads(text)
    subjects = [Subject(load(folder), (height, width), word) for folder, (height, width), word in values["subjects"]]
    return subjects, Settings(**values["settings"]), values["images"]
