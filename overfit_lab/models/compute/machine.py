"""What a device is good at, by what it says of itself: no timing, which a busy machine would turn."""

from __future__ import annotations

from collections.abc import Collection

import torch


def multiplies_bf16_faster(device: torch.device, instructions: Collection[str]) -> bool:
    """Whether a device multiplies bfloat16 faster than float32, and torch's kernels make use of it.

    AVX512_BF16 takes two products where float32 takes one, AMX_BF16 sixteen; CPUs without are slower in bfloat16.

    Args:
        instructions: names of the CPU's instruction sets.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not {"AVX512_BF16", "AMX_BF16"} & set(instructions):
        return False
    try:
        return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a build without these kernels
        return False
