"""Files that are written over minutes: each under a hidden name beside its own until it is finished, and locked.

The lock ends with the process that writes, however that ends, so a partial file without a lock was left behind.
"""

import fcntl
import glob
import os
import re
import secrets
from typing import Iterator, Tuple

NAME = re.compile(r"^\.part-[0-9a-f]{8}-(.+)$")


class PartialFile:
    """A file that is being written.

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
        except OSError:  # a network file system may have no locks
            self.close()
            raise

    def finish(self) -> None:
        """Flush it to disk and give it its final name."""
        os.fsync(self._file.fileno())
        os.replace(self.path, self._final)

    def close(self) -> None:
        """Release the lock; a file that is not finished is removed."""
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._file.close()


def abandoned(folder: str) -> Iterator[Tuple[str, str]]:
    """Partial files in a folder whose writers ended before they were finished, each with its final name."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), ".part-*"))):
        found = NAME.match(os.path.basename(path))
        if found is not None and not _locked(path):
            yield path, os.path.join(folder, found.group(1))


def _locked(path: str) -> bool:
    try:
        with open(path, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its writer has it; or it was renamed meanwhile, or belongs to another user
        return True
    return False
