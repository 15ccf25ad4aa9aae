"""Every random stream of a run, derived from its seed and a name, so that none has to be carried along.

A stream is a function of (seed, name, position). The order of epoch 7, the augmentation of epoch 7, the attack's
start in step 3 of epoch 7 are the same whether or not anything else drew random numbers before, after a resume, and
under any number of processes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one stream.

    Args:
        seed: the run's seed.
        *path: the stream's name and position, e.g. ``"attack", epoch, step``.

    Returns:
        An integer in [0, 2**63), equal on every platform.

    Example:
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3)
        True
        >>> derive_seed(0, "order", 3) == derive_seed(1, "order", 3)
        False
    """
    text = "/".join([str(int(seed)), *(str(part) for part in path)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def derive_generator(seed: int, *path: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator at the start of one stream; see :func:`derive_seed`."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *path))
