"""The baselines that are at hand: those of an extra are skipped where it is not installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import pytest

from fastnas.models.baselines import smp

needs_smp = pytest.mark.skipif(
    find_spec("segmentation_models_pytorch") is None, reason="segmentation_models.pytorch, extra smp, is not installed"
)


def marked(names: Iterable[str]) -> list[Any]:
    """Names of baselines as parameters of a test."""
    return [pytest.param(name, marks=needs_smp if name in smp.NAMES else ()) for name in names]
