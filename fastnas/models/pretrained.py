"""Pretrained weights that libraries download: checked whenever they are used.

The libraries check what they download, but not what they find in their caches.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fastnas.errors import FastnasError, first_line, raise_if_interrupted
from fastnas.jetson.files import expand_user, sha256_of


def downloaded(what: str, make: Callable[[], Any], file: Path | None, advice: str) -> Any:
    """The result of `make`, which downloads weights unless they are cached.

    Args:
        what: the weights are of, for messages.
        make: builds the model by its library.
        file: of the cached weights, if known: see `torchvision_file` and `timm_file`.
        advice: what else the user can do.

    Raises:
        FastnasError: the weights cannot be downloaded, or the cached file is damaged.
    """
    if file is not None and file.is_file():
        _require_undamaged(file, what)
    try:
        return make()
    except Exception as error:  # the libraries raise whatever their HTTP client does
        raise_if_interrupted(error)
        raise FastnasError(
            f"cannot download the pretrained weights of {what} ({first_line(error)}); {advice}"
        ) from error


def torchvision_file(url: str) -> Path:
    """Where torchvision caches the weights of an address."""
    return expand_user(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def timm_file(repository: str | None) -> Path | None:
    """Where timm has cached the weights of a repository of the Hugging Face Hub; None if it has not."""
    from huggingface_hub import constants, try_to_load_from_cache

    expand_user(constants.HF_HUB_CACHE)
    for name in ("model.safetensors", "pytorch_model.bin") if repository else ():
        cached = try_to_load_from_cache(str(repository), name)
        if isinstance(cached, str):
            return Path(cached).resolve()  # the link to it may stay
    return None


def _require_undamaged(file: Path, what: str) -> None:
    """Compare a file with the SHA-256 that its name holds, all of it or the first digits."""
    digits = re.search(r"(?:^|-)([0-9a-f]{8,64})(?:\.|$)", file.name)
    if digits and not sha256_of(str(file)).startswith(digits[1]):
        raise FastnasError(f"the downloaded weights of {what} are damaged: delete {file}, and try again")
