"""fastnas: compact networks for dense prediction, found by search and measured on NVIDIA Jetson boards.

The names below are the library's face; `import fastnas` itself imports none of what stands behind them.

    import fastnas

    genotype = fastnas.Genotype.parse("[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]")
    data = fastnas.open_dataset("synthetic")
    network = fastnas.build(fastnas.ModelSpec(str(genotype), data.task))
    print(fastnas.count(network, (512, 512)).parameters)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnas.checkpoint import Model, load_model, save_model
    from fastnas.counts import Counts, count
    from fastnas.data import open_dataset
    from fastnas.decoder import Decoder
    from fastnas.encoder import Encoder, add_encoder, make_encoder
    from fastnas.errors import FastnasError
    from fastnas.genotype import Genotype
    from fastnas.models import ModelSpec, build
    from fastnas.network import Network
    from fastnas.ops import add_operation
    from fastnas.tasks import Depth, Pose, Segmentation
    from fastnas.zoo import ZOO

__version__ = "0.1.0"

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
    "load_model",
    "make_encoder",
    "open_dataset",
    "save_model",
]

_HOMES = {
    "fastnas.checkpoint": ("Model", "load_model", "save_model"),
    "fastnas.counts": ("Counts", "count"),
    "fastnas.data": ("open_dataset",),
    "fastnas.decoder": ("Decoder",),
    "fastnas.encoder": ("Encoder", "add_encoder", "make_encoder"),
    "fastnas.errors": ("FastnasError",),
    "fastnas.genotype": ("Genotype",),
    "fastnas.models": ("ModelSpec", "build"),
    "fastnas.network": ("Network",),
    "fastnas.ops": ("add_operation",),
    "fastnas.tasks": ("Depth", "Pose", "Segmentation"),
    "fastnas.zoo": ("ZOO",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'fastnas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
