"""The header of a model file, and reading both.

It is the JSON value of `fastnas` in safetensors' metadata: the model's description (architecture, encoder, channels,
sep repeats, task with its classes and colours or joints or range), the input's normalisation, the training recipe, the
metrics, and the version of fastnas. Reading executes no code of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from fastnas import __version__
from fastnas.errors import FastnasError
from fastnas.jetson.checks import Fields, parse_json

FORMAT = 1
"""Version of the header; raised when an older fastnas could misread it."""


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a model file, without reading the weights.

    Raises:
        FastnasError: there is no such file; it is truncated, foreign, or of a newer fastnas.
    """
    header, _ = read_model(Path(path), weights=False)
    return header


def read_model(path: Path, *, weights: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header of a model file, and its weights if they are asked for.

    Raises:
        FastnasError: as `read_header`.
    """
    if not path.is_file():
        raise FastnasError(f"no model file {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # safe_open's file is not a mapping: it has keys() but cannot be iterated.
            tensors = {key: file.get_tensor(key) for key in file.keys()} if weights else {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise FastnasError(f"{path} is truncated or not a safetensors file: {error}") from error
    return parse_header(metadata, path), tensors


def parse_header(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The header in the metadata of a safetensors file; `path` names it in error messages.

    Raises:
        FastnasError: there is none, it is of a newer fastnas, or it holds what it must not.
    """
    if "fastnas" not in metadata:
        raise FastnasError(f"{path} is a safetensors file, but not a fastnas model: it has no fastnas header")
    where = f"the header of {path}"
    header = Fields(parse_json(metadata["fastnas"], where, finite=False), where)  # a metric may be NaN
    version = header.values.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise FastnasError(
            f"{path} has format {version!r:.80}, written by fastnas {header.values.get('version')!s:.80}; "
            f"this is fastnas {__version__}, which reads up to {FORMAT}: upgrade fastnas"
        )
    header.take("model", dict)
    for name in ("recipe", "metrics"):
        header.take(name, dict, optional=True)
    return header.values


def is_model(path: Path) -> bool:
    """Whether a file is one of our model files, by its metadata."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return "fastnas" in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError):
        return False
