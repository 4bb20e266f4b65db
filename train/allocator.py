"""The C library's memory allocator, set for training on a CPU."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of `mallopt` in glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Let this process keep large blocks of freed memory for its next allocations.

    glibc takes blocks of 32 MB and more from the kernel one by one and returns them when they are freed, so that every
    training step pays again for the kernel to clear its activations: about a tenth of its time
    (`benchmarks/allocator.py`).

    Returns:
        Whether the C library can do that; musl and others cannot, and stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    largest = 2**31 - 1
    return all(mallopt(*pair) for pair in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, largest), (_TOP_PAD, 2**28)))
