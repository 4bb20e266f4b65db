"""Chance that can be computed again: every random thing of a candidate is a pure function of seed, purpose and number.

No generator has to be carried along, so a resumed search, and a candidate that is evaluated a second time, draw what
they would have drawn undisturbed.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str, number: int) -> np.random.Generator:
    """A generator of its own for what candidate `number` needs chance for, such as "decisions" or "stop"."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), number])
