"""Built engines, kept under everything that decides whether an engine still fits, with the reason for every rebuild.

An engine works only with the TensorRT and the GPU that built it. The cache is the folder `engines` of
`files.cache_root`: `NAME-KEY.engine` and, written after it, `NAME-KEY.json`, with what it was built from
and, once compared, how far its output is from its graph's.
"""

import glob
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Optional

from fastnas.jetson.checks import RECORD_BYTES, Fields, read_json
from fastnas.jetson.engine.base import Log
from fastnas.jetson.engine.build import BuildOrder
from fastnas.jetson.errors import MORE_MEMORY, JetsonError, one_line
from fastnas.jetson.files import PACKAGE, cache_root, sha256_of, write_text
from fastnas.jetson.partial_files import PartialFile, abandoned

LOG_SECONDS = 10.0
LONGEST_NAME = 120


class EngineCache:
    """The engines of one machine."""

    def __init__(self, folder: Optional[str] = None) -> None:
        self.folder = folder or str(cache_root() / "engines")

    def get(self, name: str, identity: Dict[str, Any], order: BuildOrder, log: Log) -> str:
        """The path of the engine with this identity, built now if there is none.

        Args:
            name: of the engine in messages: artifact, precision and size.
            identity: what decides whether an engine fits, as JSON values.
            order: how to build it; its paths are filled in here.
            log: receives lines about a build.

        Raises:
            JetsonError: it cannot be built, or the cache cannot be written.
        """
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        stem = os.path.join(self.folder, "{}-{}".format(_file_name(name), key))
        reason = self._why_not(stem)
        if reason is None:
            return stem + ".engine"
        log("building the engine {}: {}; this takes minutes".format(name, reason or self._why(name, identity)))
        self._build(stem, order, log)
        _write_record(stem + ".json", {"identity": identity, "sha256": sha256_of(stem + ".engine")})
        return stem + ".engine"

    def compared(self, path: str) -> bool:
        """Whether an engine was compared with its graph."""
        return "difference" in (_read_record(_record_of(path)) or {})

    def note(self, path: str, difference: float) -> None:
        """Keep an engine's difference from its graph, as a share of the largest value."""
        record = _read_record(_record_of(path))
        if record is not None:
            _write_record(_record_of(path), dict(record, difference=difference))

    def forget(self, path: str) -> None:
        """Remove an engine that TensorRT refuses to load, or that is wrong."""
        for name in (path, _record_of(path)):
            if os.path.exists(name):
                os.unlink(name)

    def _why_not(self, stem: str) -> Optional[str]:
        """None if the engine is there and intact; else the reason to build it, '' where there was none of this key."""
        record = _read_record(stem + ".json")
        if record is None:
            return ""
        if not os.path.exists(stem + ".engine"):
            return "its file was removed"
        return None if sha256_of(stem + ".engine") == record["sha256"] else "its file is damaged"

    def _why(self, name: str, identity: Dict[str, Any]) -> str:
        """What is different from the engines of the same name."""
        for path in glob.glob(os.path.join(glob.escape(self.folder), _file_name(name) + "-*.json")):
            record = _read_record(path)
            if record is not None:
                before = record["identity"]
                keys = sorted(key for key in set(before) | set(identity) if before.get(key) != identity.get(key))
                return one_line(", ".join("{} was {}, is {}".format(k, before.get(k), identity.get(k)) for k in keys))
        return "there is none yet"

    def _build(self, stem: str, order: BuildOrder, log: Log) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
            for left, _ in abandoned(self.folder):
                os.unlink(left)
            part = PartialFile(stem + ".engine")
        except OSError as error:
            message = "cannot write the engine cache {} ({}); set FASTNAS_CACHE to a folder that can be written"
            raise JetsonError(message.format(self.folder, error.strerror)) from error
        try:
            log("the same by hand: " + order._replace(engine=stem + ".engine").trtexec())
            _run_build(order._replace(engine=part.path, timing_cache=os.path.join(self.folder, "timings")), log)
            part.finish()
        finally:
            part.close()


def _run_build(order: BuildOrder, log: Log) -> None:
    """Build in a child process, which ends with this one however that ends; log now and then that it still runs."""
    paths = [os.path.dirname(os.path.dirname(PACKAGE))] + [path for path in (os.environ.get("PYTHONPATH"),) if path]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
    command = [sys.executable, "-m", "fastnas.jetson.engine.build", json.dumps(order._asdict()), str(os.getpid())]
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            while True:
                try:
                    child.wait(LOG_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    log("{:.0f} s: {}".format(time.monotonic() - start, (_lines(output) or ["building"])[-1]))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        lines = _lines(output)
    if child.returncode == -signal.SIGKILL:
        raise JetsonError("the build was killed, most likely for want of memory; " + MORE_MEMORY)
    if child.returncode:
        reason = (lines or ["exit {}".format(child.returncode)])[-1]
        advice = "; " + MORE_MEMORY if re.search("(?i)out ?of ?memory", reason) else ""
        raise JetsonError("the engine was not built: " + reason + advice)
    log("built in {:.0f} s".format(time.monotonic() - start))


def _lines(output: Any) -> List[str]:
    """The lines that the child has written so far."""
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), size, 0).decode("utf-8", "replace").strip().splitlines()


def _file_name(name: str) -> str:
    """A part of a file's name in every file system: no separators, no more than ASCII, and not too long.

    The key that follows it tells apart engines of which only the names became equal.
    """
    return re.sub("[^A-Za-z0-9_.-]", "_", name)[:LONGEST_NAME]


def _record_of(engine: str) -> str:
    return engine[: -len(".engine")] + ".json"


def _write_record(path: str, record: Dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")


def _read_record(path: str) -> Optional[Dict[str, Any]]:
    """An engine's record, or None where there is none that can be read."""
    try:
        return record_from(read_json(path, RECORD_BYTES), path)
    except JetsonError:
        return None


def record_from(values: Any, where: str) -> Dict[str, Any]:
    """`values` if they are an engine's record; `where` names them in error messages.

    Raises:
        JetsonError: they are not.
    """
    fields = Fields(values, where)
    fields.take("identity", dict), fields.take("sha256", str)
    fields.take("difference", float, optional=True)
    return fields.values
