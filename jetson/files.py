"""Files that are replaced atomically, their checksums, and the folder of everything that is cached."""

import hashlib
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union

from fastnas.jetson.errors import FastnasError

PACKAGE = os.path.dirname(os.path.abspath(__file__))
"""The folder of `fastnas.jetson`."""


def cache_root() -> Path:
    """The folder of built engines, encoder outputs and measured latencies: $FASTNAS_CACHE, else ~/.cache/fastnas.

    Raises:
        FastnasError: there is neither.
    """
    try:
        return expand_user(os.environ.get("FASTNAS_CACHE") or "~/.cache/fastnas")
    except FastnasError as error:
        raise FastnasError("no folder for caches: {}, or FASTNAS_CACHE to a folder".format(error)) from error


def expand_user(path: Union[str, "os.PathLike[str]"]) -> Path:
    """A path with the home folder for a leading `~` or `~USER`.

    Raises:
        FastnasError: there is no such home folder, as for a user id without an entry in passwd.
    """
    expanded = os.path.expanduser(os.fspath(path))
    if expanded.startswith("~"):
        who = os.fspath(path).split("/")[0][1:] or "user id {}".format(os.getuid())
        raise FastnasError("{} has no home folder to find {} in; set HOME".format(who, path))
    return Path(expanded)


@contextmanager
def atomic_path(path: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it is flushed to disk and replaces `path`.

    After an exception, or a kill at any moment, `path` is what it was before. The parent folder is created.

    Raises:
        FastnasError: the folder cannot be written, or the disk is full.
    """
    target = Path(path)
    temporary = target.parent / ".{}.{}.part".format(target.name, secrets.token_hex(4))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        open(str(temporary), "xb").close()
        try:
            yield temporary
            with open(str(temporary), "rb+") as file:
                os.fsync(file.fileno())
            os.replace(str(temporary), str(target))
        finally:
            if temporary.exists():
                temporary.unlink()
    except OSError as error:
        raise FastnasError("cannot write {}: {}".format(target, error.strerror or error)) from error


def write_text(path: Union[str, "os.PathLike[str]"], text: str) -> None:
    """Replace the file at `path` atomically by `text` (UTF-8)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_of(path: str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise FastnasError("cannot read {}: {}".format(path, error.strerror or error)) from error
    return digest.hexdigest()
