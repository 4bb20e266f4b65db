"""Files that are either whole or absent, and their checksums."""

import hashlib
import os
import tempfile
from contextlib import contextmanager
from typing import Iterator

from fastnas.jetson.errors import JetsonError

PACKAGE = os.path.dirname(os.path.abspath(__file__))
"""The folder of `fastnas.jetson`."""


@contextmanager
def atomic_path(path: str) -> Iterator[str]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and replaces `path`.

    After an exception, or a kill at any moment, `path` is what it was before. The parent folder is created.

    Raises:
        JetsonError: the folder cannot be written, or the disk is full.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = None
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".{}.".format(name), suffix=".part", dir=folder)
        os.close(descriptor)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise JetsonError("cannot write {}: {}".format(path, error.strerror or error)) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def write_text(path: str, text: str) -> None:
    """Replace the file at `path` by `text` (UTF-8), whole or not at all."""
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)


def sha256_of(path: str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise JetsonError("cannot read {}: {}".format(path, error.strerror or error)) from error
    return digest.hexdigest()
