"""fastnas: compact networks for dense prediction, found by search and measured on NVIDIA Jetson boards.

The names below are the public API; each is imported when it is first used.

    import fastnas

    street = fastnas.load("street")  # a trained network: street("image.jpg").segmentation

    genotype = fastnas.Genotype.parse("[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]")
    data = fastnas.open_dataset("synthetic")
    network = fastnas.build(fastnas.ModelSpec(str(genotype), data.task))
    print(fastnas.count(network, (512, 512)).parameters)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnas.data import open_dataset
    from fastnas.errors import FastnasError
    from fastnas.jetson.inference.model import load
    from fastnas.models.checkpoint import Model, load_model, save_model
    from fastnas.models.counts import Counts, count
    from fastnas.models.decoder import Decoder
    from fastnas.models.encoder import Encoder, add_encoder, make_encoder
    from fastnas.models.genotype import Genotype
    from fastnas.models.network import Network
    from fastnas.models.operations import add_operation
    from fastnas.models.spec import ModelSpec, build
    from fastnas.models.zoo import ZOO
    from fastnas.tasks import Depth, Pose, Segmentation

__version__ = "0.2.0"

__all__ = [
    "ZOO",
    "Counts",
    "Decoder",
    "Depth",
    "Encoder",
    "FastnasError",
    "Genotype",
    "Model",
    "ModelSpec",
    "Network",
    "Pose",
    "Segmentation",
    "add_encoder",
    "add_operation",
    "build",
    "count",
    "load",
    "load_model",
    "make_encoder",
    "open_dataset",
    "save_model",
]

_HOMES = {
    "fastnas.models.checkpoint": ("Model", "load_model", "save_model"),
    "fastnas.models.counts": ("Counts", "count"),
    "fastnas.data": ("open_dataset",),
    "fastnas.models.decoder": ("Decoder",),
    "fastnas.models.encoder": ("Encoder", "add_encoder", "make_encoder"),
    "fastnas.errors": ("FastnasError",),
    "fastnas.jetson.inference.model": ("load",),
    "fastnas.models.genotype": ("Genotype",),
    "fastnas.models.spec": ("ModelSpec", "build"),
    "fastnas.models.network": ("Network",),
    "fastnas.models.operations": ("add_operation",),
    "fastnas.tasks": ("Depth", "Pose", "Segmentation"),
    "fastnas.models.zoo": ("ZOO",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'fastnas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
