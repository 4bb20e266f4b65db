"""Files that are written over minutes: each under a hidden name beside its own until it is finished, and locked.

The lock ends with the process that writes, however that ends, so a partial file without a lock was left behind.
"""

import fcntl
import glob
import os
import re
import secrets
from typing import Iterator, Optional, Tuple

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
    held = lock(path)
    if held is None:
        return True
    os.close(held)
    return False


def lock(path: str, wait: bool = False) -> Optional[int]:
    """Lock a file or folder for this process; None if another has it, it is gone, or it cannot be locked.

    Args:
        path: is not followed if it is a link.
        wait: until the other process releases it.

    Returns:
        The descriptor that holds the lock until it is closed, or the process ends.
    """
    mode = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR  # network file systems lock what may be written alone
    try:
        held = os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(held), os.stat(path)):
            return held
    except OSError:  # renamed or removed meanwhile, or a network file system without locks
        pass
    os.close(held)
    return None
