"""The one error style of fastnas: a line that says what is wrong, where, and what to do."""

from __future__ import annotations


class FastnasError(Exception):
    """An error that a user can act on. The command line prints its line and exits 1, without a traceback."""


def first_line(error: BaseException) -> str:
    """What a library's error says first; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class MissingPackage(FastnasError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'fastnas[{extra}]'")
        self.package = package
        self.extra = extra
