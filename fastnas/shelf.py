"""The shelf: trained models that come with fastnas, by name, such as `street`.

The folder `fastnas.weights` holds a model file of each, with fp16 weights, and `index.json`. Nothing here imports
torch. `python -m fastnas.deploy.publish` adds a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastnas.errors import FastnasError
from fastnas.jetson.checks import COUNT, SETTINGS_BYTES, SIDE, Fields, read_json
from fastnas.jetson.files import sha256_of

INDEX = "index.json"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Entry:
    """What the index says about a model.

    Attributes:
        name: of the model.
        sha256: of its file, in hexadecimal.
        bytes: of its file.
        about: one sentence: what it predicts.
        data: what it was trained on.
        metrics: name -> value on the validation images; the first is the one that ranks it.
        input_size: H, W of the images that it was measured on.
    """

    name: str
    sha256: str
    bytes: int
    about: str
    data: str
    metrics: dict[str, float]
    input_size: tuple[int, int]

    @property
    def file(self) -> str:
        """The file's name in the folder."""
        return self.name + SUFFIX

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON values, read back by `entries`."""
        return {
            "file": self.file, "sha256": self.sha256, "bytes": self.bytes, "about": self.about, "data": self.data,
            "metrics": self.metrics, "input_size": list(self.input_size),
        }  # fmt: skip


def folder() -> Path:
    """Where the models are: of an installed fastnas, an editable one, or a checkout."""
    return Path(str(files("fastnas.weights")))


def entries() -> dict[str, Entry]:
    """Every model of the shelf, by name.

    Raises:
        FastnasError: the index cannot be read.
    """
    path = str(folder() / INDEX)
    return parse(read_json(path, SETTINGS_BYTES), path)


def parse(values: Any, where: str) -> dict[str, Entry]:
    """The entries of an index; `where` names it in error messages.

    Raises:
        FastnasError: it is none.
    """
    listed = Fields(values, where).values
    return {name: _entry(name, each, f"{where}: {name}") for name, each in listed.items()}


def find(name: str) -> Path | None:
    """The checked model file of a name; None if the shelf has none of that name.

    Raises:
        FastnasError: its file is missing or damaged.
    """
    entry = entries().get(name)
    if entry is None:
        return None
    path = folder() / entry.file
    if not path.is_file():
        raise FastnasError(f"the model {name} is missing: there is no {path}; install fastnas again")
    if path.stat().st_size != entry.bytes or sha256_of(str(path)) != entry.sha256:
        raise FastnasError(f"the model {name} is damaged: {path} differs from its sha256; install fastnas again")
    return path


def resolve(text: str) -> str:
    """The path of the model that a text names, if it is a name of the shelf; any other text as it is.

    Raises:
        FastnasError: as `find`.
    """
    path = find(text)
    return text if path is None else str(path)


def names_help() -> str:
    """The names of the shelf and what each predicts, as the end of a command's help."""
    found = entries()
    width = max(map(len, found), default=0)
    lines = [f"  {name:{width}}  {entry.about}" for name, entry in found.items()]
    return "\n".join(["\b", "Trained models by name:", *lines]) if lines else ""


def _entry(name: str, values: Any, where: str) -> Entry:
    fields = Fields(values, where)
    height, width = fields.take_list("input_size", int, count=2, each=SIDE)
    metrics = Fields(fields.take("metrics", dict), f"{where}: metrics")
    return Entry(
        name=name,
        sha256=fields.take("sha256", str),
        bytes=fields.take("bytes", int, within=COUNT),
        about=fields.take("about", str),
        data=fields.take("data", str),
        metrics={key: metrics.take(key, float) for key in metrics.values},
        input_size=(height, width),
    )
