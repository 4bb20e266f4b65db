"""Errors that a user can act on; their base is shared with the device half."""

from __future__ import annotations

from fastnas.jetson.errors import FastnasError, first_line

__all__ = ["FastnasError", "MissingPackage", "first_line"]


class MissingPackage(FastnasError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'fastnas[{extra}]'")
        self.package = package
        self.extra = extra
