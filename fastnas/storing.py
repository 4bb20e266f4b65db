"""Atomic writes of tensors.

They are serialised in memory first: torch's and safetensors' own writers do not raise OSError on a full disk.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from fastnas.jetson.files import atomic_path


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """A .safetensors file of named tensors, from any device.

    Raises:
        FastnasError: it cannot be written, or the disk is full; what was there stays.
    """
    data = safetensors.torch.save({name: value.cpu().contiguous() for name, value in tensors.items()}, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """A file of tensors and plain values, which `torch.load(..., weights_only=True)` reads.

    Raises:
        FastnasError: it cannot be written, or the disk is full; what was there stays.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
