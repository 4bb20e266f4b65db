"""Networks by name: artifacts that come with the device half and, on a host, models that are exported when needed."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Callable, List, Optional

from fastnas.jetson import sidecar
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.files import PACKAGE
from fastnas.jetson.sidecar import FILE_NAME, Artifact

NAMES = ("street", "objects", "people", "rooms", "pose", "trio")
"""Every name that a model may have; which there are says `available`."""

DEFAULTS = ("trio", "street")
"""What runs where nothing is asked for: the first that there is."""


def folder() -> str:
    """The folder of the artifacts that come with the device half."""
    return os.path.join(PACKAGE, "artifacts")


def shipped() -> List[str]:
    """The names of the artifacts that come with the device half."""
    return [name for name in NAMES if os.path.isfile(os.path.join(folder(), name, FILE_NAME))]


def available() -> List[str]:
    """Every name that `open_artifact` takes on this machine."""
    there = set(shipped())
    shelf = _host("fastnas.shelf")
    if shelf is not None:
        there.update(shelf.entries())
    return [name for name in NAMES if name in there]


def names_help() -> str:
    """The names that there are, as the end of a command's help."""
    return "Trained networks by name: " + ", ".join(available() or ["none"])


def default() -> str:
    """The name of what runs where nothing is asked for.

    Raises:
        JetsonError: there is nothing.
    """
    for name in DEFAULTS:
        if name in available():
            return name
    raise JetsonError("no network comes with this fastnas; give the folder of an artifact (fastnas export writes one)")


def open_artifact(text: str, log: Callable[[str], None] = lambda line: None) -> Artifact:
    """The artifact that an argument of a command names.

    Args:
        text: a name, the folder of an artifact, or on a host a model file, which is exported once into the cache.
        log: receives a line about an export.

    Raises:
        JetsonError: there is no such artifact or model, or it is damaged.
    """
    if text in shipped():
        return sidecar.load(os.path.join(folder(), text))
    artifacts = _host("fastnas.deploy.artifacts")
    made: Optional[Artifact] = artifacts.cached(text, log) if artifacts is not None else None
    if made is not None:
        return made
    if text in NAMES:
        raise JetsonError(_absent(text, on_host=artifacts is not None))
    if not os.path.exists(text) and os.path.basename(text) == text:
        there = ", ".join(available()) or "none"
        raise JetsonError("{} is no artifact: there is no such folder; networks by name are: {}".format(text, there))
    return sidecar.load(text)


def _absent(name: str, on_host: bool) -> str:
    """The message about a name that is not here."""
    line = "{0} does not come with this fastnas (there are: {1})".format(name, ", ".join(available()) or "none")
    if on_host:
        return line
    how = "; export it on a host: fastnas export {0}, copy it: scp -r artifacts/{0} USER@BOARD:, and give that folder"
    return line + how.format(name)


def _host(module: str) -> Any:
    """A module of the full package, which the device half may not import otherwise; None on a board."""
    return import_module(module) if find_spec("fastnas.deploy") else None
