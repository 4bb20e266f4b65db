"""What all tests of `fastnas.deploy` have: a toy encoder that commands know by name, and checks in one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastnas.deploy import parity
from fastnas.models import encoder as encoders
from tests.helpers.deploy_toys import TOY, toy_encoder


@pytest.fixture(scope="module", autouse=True)
def toys_in_one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "ENCODERS", list(encoders.ENCODERS))
        patch.setattr(encoders, "_ADDED", dict(encoders._ADDED))
        encoders.add_encoder(TOY, toy_encoder)
        # Tests run side by side: ONNX Runtime's further threads would spin on the cores of the others.
        others = (parity.open_session.__defaults__ or ())[1:]
        patch.setattr(parity.open_session, "__defaults__", (1, *others))
        yield
