"""The device half of fastnas: engines, benchmark and camera, for Python 3.6 and later, on its own.

It imports nothing of fastnas outside this folder, so that `pip install ./jetson` is all that a board needs. There,
`fastnas` is a namespace package that holds only this folder; on a host it is the full package.
"""

import os
import platform
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnas.jetson.inference.model import Model

if platform.machine() == "aarch64" and sys.version_info < (3, 7):
    # The last NumPy for this Python, 1.19.5, finds out the processor with an instruction that a TX2 and a Nano lack.
    os.environ.setdefault("OPENBLAS_CORETYPE", "ARMV8")

# ONNX Runtime from 1.31 on records how it is used in files of its own, and sends it to its makers, unless it is told
# before it is imported. ORT_DISABLE_TELEMETRY=0 allows it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.2.0"


def load(*names: str, **options: Any) -> "Model":
    """Networks by name, for images: `load("street")("image.jpg")`; see `fastnas.jetson.inference.model.load`."""
    from fastnas.jetson.inference import model  # here, for the package itself stays light

    return model.load(*names, **options)
