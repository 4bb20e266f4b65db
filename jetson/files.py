"""Files and folders that are replaced atomically, checksums, and the folder of everything that is cached."""

import ctypes
import errno
import glob
import hashlib
import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union

from fastnas.jetson.errors import FastnasError
from fastnas.jetson.partial_files import lock

PACKAGE = os.path.dirname(os.path.abspath(__file__))
"""The folder of `fastnas.jetson`."""

OLD = "old"
"""Name of a replaced folder within the temporary one, until that is removed."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2


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
    with _writing(target), _temporary(target, is_folder=False) as temporary:
        yield temporary
        _flush(temporary)
        os.replace(str(temporary), str(target))


@contextmanager
def atomic_folder(path: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Yield a new folder; on success its files are flushed to disk and it replaces the folder `path` at once.

    After an exception, or a kill at any moment, `path` is what it was before, or will be once `recover` has seen it:
    where the file system cannot exchange two folders, there is a moment without either. Parent folders are created.

    Raises:
        FastnasError: the folder cannot be written, or the disk is full.
    """
    target = Path(os.path.realpath(str(path)))
    with _writing(target), _temporary(target, is_folder=True) as temporary:
        fresh = temporary / "new"
        fresh.mkdir()
        yield fresh
        for file in fresh.rglob("*"):
            if file.is_file():
                _flush(file)
        try:
            os.rename(str(fresh), str(target))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not _exchange(fresh, target):
                os.rename(str(target), str(temporary / OLD))
                os.rename(str(fresh), str(target))


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A folder for temporary files, removed at the end; after a kill, by the next one of the same name."""
    with _temporary(Path(tempfile.gettempdir()) / name, is_folder=True) as folder:
        yield folder


def recover(folder: Union[str, "os.PathLike[str]"], name: str = "") -> None:
    """Tidy up in a folder after processes that were killed while they wrote there.

    What `atomic_path` and `atomic_folder` had not finished is removed, and a folder that was about to be replaced gets
    its name back. What a live process writes is locked, and stays.

    Args:
        folder: may be absent.
        name: of the only file or folder in it that matters; by default all do.
    """
    pattern = ".{}.{}.part".format(glob.escape(name) if name else "*", 8 * "[0-9a-f]")
    for left in glob.glob(os.path.join(glob.escape(str(folder)), pattern)):
        target = Path(folder, os.path.basename(left)[1 : -len(".12345678.part")])
        between = os.path.exists(os.path.join(left, OLD)) and not target.exists()
        held = lock(left, wait=between)
        if held is not None:
            _discard(Path(left), target)
            os.close(held)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FastnasError("cannot write {}: {}".format(target, error.strerror or error)) from error


@contextmanager
def _temporary(target: Path, is_folder: bool) -> Iterator[Path]:
    """A hidden and locked file or folder beside `target`, removed at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target.parent, target.name)
    path, held = target.parent / ".{}.{}.part".format(target.name, secrets.token_hex(4)), None
    try:
        # Between these two lines another process may take it for one that was left, and remove it.
        while held is None:
            path.mkdir(mode=0o700, exist_ok=True) if is_folder else path.open("ab").close()
            held = lock(str(path), wait=True)
            if held is None and path.exists():
                break  # a file system without locks
        yield path
    finally:
        _discard(path, target)
        if held is not None:
            os.close(held)


def _discard(temporary: Path, target: Path) -> None:
    """Remove what is left of a temporary file or folder, but for the folder that it was about to replace."""
    if temporary.is_dir():
        if (temporary / OLD).exists() and not target.exists():
            os.rename(str(temporary / OLD), str(target))
        shutil.rmtree(str(temporary), ignore_errors=True)
    elif temporary.exists():
        temporary.unlink()


def _flush(path: Path) -> None:
    with open(str(path), "rb+") as file:
        os.fsync(file.fileno())


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders at once; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # glibc before 2.28
        return False
    if renameat2(AT_FDCWD, os.fsencode(str(one)), AT_FDCWD, os.fsencode(str(other)), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code))


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
