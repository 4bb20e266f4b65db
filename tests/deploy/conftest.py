"""The toy encoder has a name, so that model files and commands can ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastnas.models import encoder as encoders
from tests.helpers.deploy_toys import TOY, toy_encoder


@pytest.fixture(scope="module", autouse=True)
def toy_is_an_encoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "ENCODERS", list(encoders.ENCODERS))
        patch.setattr(encoders, "_ADDED", dict(encoders._ADDED))
        encoders.add_encoder(TOY, toy_encoder)
        yield
