"""What a device computes in hardware, and the C library's memory allocator, set for training on a CPU."""

from __future__ import annotations

import ctypes

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of `mallopt` in glibc's malloc.h."""


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware, and so faster than float32; elsewhere it is many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16", False) or has.get("amx_bf16", False))


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
