"""The kernels, compiled on first use and kept under all that decides whether they still fit.

The cache is the folder `kernels` of `files.cache_root`: `processing-KEY.ptx`, of the text, the architecture and NVRTC's
version.
"""

import hashlib
import os
from typing import List, Tuple

from fastnas.jetson.engine.cuda.interface import Cuda, Module
from fastnas.jetson.engine.kernels.nvrtc import Nvrtc, architecture, open_nvrtc
from fastnas.jetson.errors import FastnasError, JetsonError
from fastnas.jetson.files import atomic_path, cache_root
from fastnas.jetson.system.libraries import runtime_paths

TEXT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "processing.cu")
"""Path of the kernels' text."""

OPTIONS = ("--fmad=false",)
"""Of NVRTC: a fused multiply-add rounds otherwise than the CPU."""


def load_kernels(cuda: Cuda) -> Tuple[Module, str]:
    """The kernels, in the current context, and the version of the NVRTC that compiled them.

    It is the first that loads and whose PTX the driver takes.

    Raises:
        FastnasError: there is none, it does not know the GPU, or the cache cannot be written.
    """
    seen: List[str] = []
    for path in runtime_paths("/", "nvrtc"):
        try:
            nvrtc = open_nvrtc(path)
            return _load(cuda, nvrtc), nvrtc.version
        except FastnasError as error:
            seen.append(str(error))
    raise JetsonError(seen[0] if seen else "libnvrtc is not installed")


def _load(cuda: Cuda, nvrtc: Nvrtc) -> Module:
    with open(TEXT, "rb") as file:
        text = file.read()
    options = OPTIONS + ("--gpu-architecture=" + architecture(cuda.device.capability),)
    key = hashlib.sha256(repr((text, options, nvrtc.version)).encode()).hexdigest()[:16]
    path = cache_root() / "kernels" / "processing-{}.ptx".format(key)
    try:
        return cuda.module(path.read_bytes())
    except (OSError, FastnasError):  # there is none yet, or it was damaged
        image = nvrtc.compile(text, os.path.basename(TEXT), options)
    module = cuda.module(image)
    with atomic_path(path) as temporary:
        temporary.write_bytes(image)
    return module
