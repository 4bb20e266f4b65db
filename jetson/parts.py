"""Files that grow: each under a hidden name beside its own, locked while it is written, and whole when it is named.

A lock goes with its process, however that ends, so a part that nobody locks was left behind.
"""

import fcntl
import glob
import os
import re
import secrets
from typing import Callable

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


def recover(folder: str, plays: Callable[[str], bool], say: Callable[[str], None]) -> None:
    """Deal with the parts that killed recordings left in a folder: what plays gets a name of its own, the rest goes.

    A finished file is neither touched nor replaced.
    """
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), ".part-*"))):
        found = NAME.match(os.path.basename(path))
        if found is None or not _abandoned(path):
            continue
        try:
            if plays(path):
                final = _free_name(os.path.join(folder, found.group(1)))
                os.rename(path, final)
                say("kept {}: its recording was cut off, but it plays".format(final))
            else:
                os.unlink(path)
                say("removed what was left of {}: its recording was cut off, and does not play".format(found.group(1)))
        except OSError as error:
            say("cannot tidy up {}: {}".format(path, error.strerror))


def _abandoned(path: str) -> bool:
    try:
        with open(path, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked by its writer, just named, or somebody else's
        return False
    return True


def _free_name(path: str) -> str:
    """`ride-recovered.avi` for `ride.avi`, with a number if that is taken."""
    stem, suffix = os.path.splitext(path)
    name, number = "{}-recovered{}".format(stem, suffix), 2
    while os.path.exists(name):
        name, number = "{}-recovered-{}{}".format(stem, number, suffix), number + 1
    return name
