"""Built engines, kept under everything that decides whether an engine still fits, with the reason for every rebuild.

An engine works only with the TensorRT and the GPU that built it. The cache is the folder `engines` of
`files.cache_root`: `NAME-KEY.engine` and, written after it, `NAME-KEY.json`, which says what it was built from
and, once that is known, how far it is from its graph.
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
from typing import Any, Callable, Dict, List, Optional

from fastnas.jetson.engine.build import BuildOrder
from fastnas.jetson.errors import MORE_MEMORY, JetsonError
from fastnas.jetson.files import PACKAGE, cache_root, sha256_of, write_text
from fastnas.jetson.part_files import Part, abandoned

SAY_EVERY_SECONDS = 10.0


class EngineCache:
    """The engines of one machine."""

    def __init__(self, folder: Optional[str] = None) -> None:
        self.folder = folder or str(cache_root() / "engines")

    def get(self, name: str, identity: Dict[str, Any], order: BuildOrder, say: Callable[[str], None]) -> str:
        """The path of the engine with this identity, built now if there is none.

        Args:
            name: for people: artifact, precision and size.
            identity: what decides whether an engine fits, as JSON values.
            order: how to build it; its paths are filled in here.
            say: receives lines about a build.

        Raises:
            JetsonError: it cannot be built, or the cache cannot be written.
        """
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        stem = os.path.join(self.folder, "{}-{}".format(name, key))
        reason = self._why_not(stem)
        if reason is None:
            return stem + ".engine"
        say("building the engine {}: {}; this takes minutes".format(name, reason or self._why(name, identity)))
        self._build(stem, order, say)
        _write_record(stem + ".json", {"identity": identity, "sha256": sha256_of(stem + ".engine")})
        return stem + ".engine"

    def compared(self, path: str) -> bool:
        """Whether an engine's difference from its graph is known; it is not while nothing could tell."""
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
        """None if the engine is there and whole; a reason, or '' if there never was one of this key."""
        record = _read_record(stem + ".json")
        if record is None:
            return ""
        if not os.path.exists(stem + ".engine"):
            return "its file was removed"
        return None if sha256_of(stem + ".engine") == record["sha256"] else "its file is damaged"

    def _why(self, name: str, identity: Dict[str, Any]) -> str:
        """What is different from the engines of the same name."""
        for path in glob.glob(os.path.join(glob.escape(self.folder), glob.escape(name) + "-*.json")):
            record = _read_record(path)
            if record is not None:
                before = record["identity"]
                keys = sorted(key for key in set(before) | set(identity) if before.get(key) != identity.get(key))
                return ", ".join("{} was {}, is {}".format(key, before.get(key), identity.get(key)) for key in keys)
        return "there is none yet"

    def _build(self, stem: str, order: BuildOrder, say: Callable[[str], None]) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
            for left, _ in abandoned(self.folder):
                os.unlink(left)
            part = Part(stem + ".engine")
        except OSError as error:
            message = "cannot write the engine cache {} ({}); set FASTNAS_CACHE to a folder that can be written"
            raise JetsonError(message.format(self.folder, error.strerror)) from error
        try:
            say("the same by hand: " + order._replace(engine=stem + ".engine").trtexec())
            _run_build(order._replace(engine=part.path, timing_cache=os.path.join(self.folder, "timings")), say)
            part.finish()
        finally:
            part.close()


def _run_build(order: BuildOrder, say: Callable[[str], None]) -> None:
    """Build in a child process, saying now and then that it still runs; it dies with us, whatever ends us."""
    paths = [os.path.dirname(os.path.dirname(PACKAGE))] + [path for path in (os.environ.get("PYTHONPATH"),) if path]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
    command = [sys.executable, "-m", "fastnas.jetson.engine.build", json.dumps(order._asdict())]
    start = time.monotonic()
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            while True:
                try:
                    child.wait(SAY_EVERY_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    say("{:.0f} s: {}".format(time.monotonic() - start, (_lines(log) or ["building"])[-1]))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        lines = _lines(log)
    if child.returncode == -signal.SIGKILL:
        raise JetsonError("the build was killed, most likely for want of memory; " + MORE_MEMORY)
    if child.returncode:
        reason = (lines or ["exit {}".format(child.returncode)])[-1]
        advice = "; " + MORE_MEMORY if re.search("(?i)out ?of ?memory", reason) else ""
        raise JetsonError("the engine was not built: " + reason + advice)
    say("built in {:.0f} s".format(time.monotonic() - start))


def _lines(log: Any) -> List[str]:
    """The lines that the child has written so far."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), size, 0).decode("utf-8", "replace").strip().splitlines()


def _record_of(engine: str) -> str:
    return engine[: -len(".engine")] + ".json"


def _write_record(path: str, record: Dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")


def _read_record(path: str) -> Optional[Dict[str, Any]]:
    """An engine's record, or None where there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"identity", "sha256"} <= set(record) else None
