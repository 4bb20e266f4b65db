"""Fixtures that every test file shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Tests run side by side (pytest -n auto): one thread each, also in the processes they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background jobs ignore SIGINT, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images, labels and weights beside the checkout; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real images (../shared/data) are not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def made_shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models, published and exported once for all tests; `small_shelf.use_shelf` gives a test its copy."""
    from tests.helpers.small_shelf import make_shelf

    return make_shelf(tmp_path_factory.mktemp("shelf"))
