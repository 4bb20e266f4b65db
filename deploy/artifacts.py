"""Artifacts of models: written where asked, or exported once into the cache for a name or a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastnas import __version__, shelf
from fastnas.jetson import sidecar
from fastnas.jetson.engine.base import Log
from fastnas.jetson.files import cache_root, sha256_of

if TYPE_CHECKING:
    from fastnas.deploy.export import Exported, Options
    from fastnas.models.checkpoint import Model


def cached(text: str, log: Log) -> sidecar.Artifact | None:
    """The artifact of a model of the shelf or of a model file, exported now if these very weights were not before.

    Args:
        text: a name, or the path of a `.safetensors` file.
        log: receives a line about an export.

    Returns:
        None if the text is neither.

    Raises:
        FastnasError: the file is missing or damaged, or cannot be exported.
    """
    path = shelf.resolve(text)
    if not path.endswith(shelf.SUFFIX):
        return None
    folder = cache_root() / "artifacts" / f"{sha256_of(path)[:16]}-{__version__}-{sidecar.FORMAT}"
    if not (found := sidecar.find(str(folder))):
        from fastnas.models.checkpoint import load_model

        log(f"exporting {text} once, into {folder}")
        export_model(load_model(path), folder)
        found = sidecar.find(str(folder))
    return found[0]


def export_model(model: Model, out: Path, options: Options | None = None, name: str = "", log: Log = print) -> Exported:
    """Write the artifact of a model; see `fastnas.deploy.export.export`.

    Args:
        model: what to export.
        out: the folder of all artifacts.
        options: by default the plain float32 file, checked at the size of the model's training.
        name: of the artifact; by default the model's.
        log: receives a line about each step.
    """
    from fastnas.deploy.export import Options, export

    return export(
        model.network, model.spec, name or model.name, out, options or Options(usual_size(model)),
        trained=bool(model.recipe), input_size=trained_size(model), progress=log,
    )  # fmt: skip


def trained_size(model: Model) -> tuple[int, int] | None:
    """H, W of the crops that a pose network was validated on, as multiples of 32; None for other networks."""
    from fastnas.deploy.export import fitting

    size = model.recipe.get("val_size") if model.spec.task.kind == "pose" else None
    return fitting(size) if size else None


def usual_size(model: Model) -> tuple[int, int]:
    """H, W at which a model is checked where nothing else is said."""
    return trained_size(model) or (512, 512)
