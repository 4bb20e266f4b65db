"""Deterministic random generators: all randomness of a candidate is a pure function of seed, purpose and number.

No generator's state has to be saved: a resumed search, and a candidate that is evaluated again, get the same random
numbers as before.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str, number: int) -> np.random.Generator:
    """The random generator of candidate `number` for one purpose, such as "decisions" or "stop"."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), number])
