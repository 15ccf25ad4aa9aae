"""Every random stream of a run, derived from its seed and a name, so that none has to be carried along.

A stream is a function of (seed, name, position). The order of epoch 7, the augmentation of epoch 7, the attack's
start in step 3 of epoch 7 are the same whether or not anything else drew random numbers before, after a resume, and
under any number of processes.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    """A generator at the start of one stream; see :func:`derive_seed`. The meta device has the CPU's."""
    import torch

    place = "cpu" if torch.device(device).type == "meta" else device
    return torch.Generator(device=place).manual_seed(derive_seed(seed, *path))


@dataclass(frozen=True)
class Streams:
    """The state of every global random stream: Python's, numpy's, torch's on the CPU and on each CUDA device."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: list[torch.Tensor] | None


def get_streams() -> Streams:
    """The state of the global random streams now."""
    import numpy as np
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    return Streams(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)  # noqa: NPY002


def set_streams(streams: Streams) -> None:
    """Put the global random streams where :func:`get_streams` found them.

    Streams of CUDA devices that this machine does not have are passed over, so that a run can go on elsewhere.
    """
    import numpy as np
    import torch

    random.setstate(streams.python)
    np.random.set_state(streams.numpy)  # noqa: NPY002
    torch.set_rng_state(streams.cpu)
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for device, state in enumerate((streams.cuda or [])[:n_devices]):
        torch.cuda.set_rng_state(state, device)


@contextmanager
def private_streams(seed: int) -> Iterator[None]:
    """The global random streams start from ``seed`` inside and are where they were on leaving.

    Nothing of ours draws from them; a model that does (dropout, stochastic depth) is reproducible inside.
    """
    import numpy as np
    import torch

    before = get_streams()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    finally:
        set_streams(before)
