"""Files that grow: each under a hidden name beside its own, locked while it is written, and whole when it is named.

A lock goes with its process, however that ends, so a part that nobody locks was left behind.
"""

import fcntl
import glob
import os
import re
import secrets
from typing import Iterator, Tuple

NAME = re.compile(r"^\.part-[0-9a-f]{8}-(.+)$")


class Part:
    """A growing file.

    Attributes:
        path: where it is to be written.
    """

    def __init__(self, final: str) -> None:
        folder, name = os.path.split(os.path.abspath(final))
        self.path = os.path.join(folder, ".part-{}-{}".format(secrets.token_hex(4), name))
        self._final = final
        self._file = open(self.path, "xb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a network's disk may know no locks
            self.close()
            raise

    def finish(self) -> None:
        """Give it its name, once its bytes are on the disk."""
        os.fsync(self._file.fileno())
        os.replace(self.path, self._final)

    def close(self) -> None:
        """Let go; what is not finished is removed."""
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._file.close()


def abandoned(folder: str) -> Iterator[Tuple[str, str]]:
    """The parts in a folder whose writers ended before they were finished, each with the name that it was to get."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), ".part-*"))):
        found = NAME.match(os.path.basename(path))
        if found is not None and not _locked(path):
            yield path, os.path.join(folder, found.group(1))


def _locked(path: str) -> bool:
    try:
        with open(path, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # by its writer; or it has just been named, or is somebody else's
        return True
    return False
