"""Errors that a user can act on; their base is shared with the device half."""

from __future__ import annotations

from typing import Any

from fastnas.jetson.errors import FastnasError, JetsonError, first_line, import_package, raise_if_interrupted

__all__ = ["FastnasError", "MissingPackage", "first_line", "import_extra", "raise_if_interrupted"]


class MissingPackage(FastnasError):
    """A package of an optional extra is not installed, or does not load."""

    def __init__(self, package: str, extra: str, reason: str = "is not installed") -> None:
        super().__init__(f"{package} {reason}; run: pip install 'fastnas[{extra}]'")
        self.package = package
        self.extra = extra


def import_extra(module: str, extra: str) -> Any:
    """A module of a package that an optional extra installs.

    Raises:
        MissingPackage: it cannot be imported.
    """
    package = module.partition(".")[0]
    try:
        return import_package(module, "does not load ({})")
    except JetsonError as error:
        missing = isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name == package
        raise MissingPackage(package, extra, "is not installed" if missing else str(error)) from error
