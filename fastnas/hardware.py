"""What a device computes in hardware."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware, and so faster than float32; elsewhere it is many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16", False) or has.get("amx_bf16", False))
