"""`predictions.jsonl` of an output folder: what was predicted with what, a line each, so that a run can continue.

    {"format": 1, "network": "street", "precision": "fp32", "tasks": {...}, ...}
    {"name": "lake", "source": "images/lake.jpg", "stamp": [81243, 17], "size": [480, 640], "ms": 21.3}
    {"name": "ride", "started": true}
    {"name": "ride/000000", "video": "ride", "size": [720, 1280], "ms": 22.0, "pose": [[311.5, 60.25, 0.91], ...]}
    {"name": "ride", "source": "ride.mp4", "stamp": [5093120, 17], "frames": 1}

The first line is the header. An image has a line once its files are written; a video, too, after those of its frames.
A later line of a name replaces earlier ones.
"""

import fcntl
import json
import os
from typing import Any, Dict, List, Optional

from fastnas.jetson.checks import SIDE, Fields, parse_json
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.model import FOLDERS

FILE_NAME = "predictions.jsonl"
JOINTS = "joints.json"
FORMAT = 1
ENDINGS = (".png", ".jpg", ".mp4")

Record = Dict[str, Any]


class Records:
    """The records of an output folder, to which this process alone adds; a context manager.

    Args:
        folder: of the output; is made where it is missing.
        header: what predicts, as JSON values: records of another header are not continued.
        replace: whether to remove the results that are there.

    Raises:
        JetsonError: the folder holds other files or results of another header, or another process adds to it.
    """

    def __init__(self, folder: str, header: Record, replace: bool) -> None:
        self._folder, self.path = folder, os.path.join(folder, FILE_NAME)
        os.makedirs(folder, exist_ok=True)
        if not os.path.exists(self.path) and os.listdir(folder):
            raise JetsonError("{} holds other files than predictions; give another --out".format(folder))
        self._images: Dict[str, Record] = {}
        self._videos: Dict[str, Record] = {}
        self._frames: Dict[str, List[Record]] = {}
        self._file = open(self.path, "a+b")
        try:
            self._lock()
            self._read(json.loads(json.dumps(dict(header, format=FORMAT))), replace)
        except BaseException:
            self._file.close()
            raise

    def finished(self, name: str, source: str, stamp: Optional[List[int]]) -> bool:
        """Whether an input was predicted to its end, and has not changed since."""
        record = self._images.get(name) or self._videos.get(name) or {}
        return stamp is not None and (record.get("source"), record.get("stamp")) == (source, stamp)

    def add(self, record: Record) -> None:
        """Write a record."""
        self._write(record)
        self._take(record)

    def frames(self) -> List[Record]:
        """The records of all images and frames."""
        return list(self._images.values()) + [frame for frames in self._frames.values() for frame in frames]

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            line = "another process predicts into {}: wait for it, or give another --out"
            raise JetsonError(line.format(self._folder)) from error
        except OSError:  # a network file system without locks
            pass

    def _read(self, header: Record, replace: bool) -> None:
        """Take the records that are there, or begin anew."""
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut off the last line
        lines = whole.split(b"\n")[:-1]
        found = Fields(parse_json(lines[0], self.path), self.path).values if lines else header
        if found != header and not replace:
            changed = sorted(key for key in set(header) | set(found) if header.get(key) != found.get(key))
            message = "{} holds predictions that differ in {}: give another --out, or --replace to remove them"
            raise JetsonError(message.format(self._folder, " and ".join(changed)))
        for number, line in enumerate(lines[1:], start=2):
            self._take(_checked(line, "{}, line {}".format(self.path, number)))
        if replace:
            self._remove()
            whole = b""
        self._file.truncate(len(whole))
        if not whole:
            self._write(header)

    def _write(self, record: Record) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    def _take(self, record: Record) -> None:
        name = record["name"]
        if "started" in record:
            self._videos.pop(name, None)
            self._frames[name] = []
        elif "video" in record:
            self._frames.setdefault(record["video"], []).append(record)
        elif "frames" in record:
            self._videos[name] = record
        else:
            self._images[name] = record

    def _remove(self) -> None:
        """Remove the files of all records."""
        names = [record["name"] for record in self.frames()] + list(self._videos)
        paths = [os.path.join(kind, name + end) for name in names for kind in FOLDERS.values() for end in ENDINGS]
        for path in paths + [JOINTS]:
            if os.path.isfile(os.path.join(self._folder, path)):
                os.unlink(os.path.join(self._folder, path))
        self._images, self._videos, self._frames = {}, {}, {}


def _checked(line: bytes, where: str) -> Record:
    """A record, after what is read of it was checked.

    Raises:
        JetsonError: it is damaged; `where` names it.
    """
    fields = Fields(parse_json(line, where), where)
    name = fields.take("name", str)
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise fields.error("name", "leads out of the folder")
    if "started" not in fields.values and "frames" not in fields.values:
        fields.take_list("size", int, count=2, each=SIDE)
        fields.take("video", str, optional=True)
        fields.take_list("pose", _joint, optional=True)
    return fields.values


def _joint(values: Any, where: str) -> List[float]:
    return Fields({"joint": values}, where).take_list("joint", float, count=3)
