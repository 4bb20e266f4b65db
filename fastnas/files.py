"""Folders that one process at a time works in."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastnas.errors import FastnasError


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this process alone; the system lets go when the process ends, however it ends.

    Args:
        folder: created if missing.
        what: the activity, for the message, such as "training".

    Raises:
        FastnasError: another process holds the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")  # noqa: SIM115 - it is closed after everything that it protects
    except OSError as error:
        raise FastnasError(f"cannot write {folder}: {error.strerror or error}") from error
    with file:
        try:
            # Of this process alone: a lock by flock would live on in loader processes that outlast a killed parent.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FastnasError(f"another process is {what} in {folder}: wait for it, or use another folder") from error
        yield
