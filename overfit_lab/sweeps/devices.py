"""Gives each cell GPUs of its own on this machine, so that not all cells run on the first one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import IO

from overfit_lab.files.writing import make_folder

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 0.5
"""Seconds between tries where all GPUs are taken."""


def visible_devices(count: Callable[[], int]) -> list[str]:
    """The GPUs that this process may use, by the names under which a child finds them.

    Args:
        count: how many there are, asked where CUDA_VISIBLE_DEVICES does not say.
    """
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(i) for i in range(count())]


def try_to_take(folder: Path, devices: Sequence[str], n: int, n_shares: int = 1) -> tuple[list[str], ExitStack] | None:
    """GPUs that no other cell of a sweep holds, and what holds them until it is closed or the process ends.

    Args:
        folder: where their locks are.
        devices: those of this machine.
        n: how many are wanted.
        n_shares: cells that may have a GPU at a time.

    Returns:
        None where fewer than ``n`` are free.
    """
    make_folder(folder)
    taken: list[str] = []
    with ExitStack() as held:
        for share, device in product(range(n_shares), devices):
            path = folder / f"{device.replace('/', '-')}{f'-{share}' if share else ''}.lock"
            if len(taken) < n and device not in taken and _lock(held.enter_context(open(path, "ab"))):
                taken.append(device)
        return (taken, held.pop_all()) if len(taken) == n else None


def take(folder: Path, devices: Sequence[str], n: int, n_shares: int = 1) -> ExitStack:
    """Wait for ``n`` GPUs, and let this process see no others; before its first use of CUDA."""
    while (taken := try_to_take(folder, devices, n, n_shares)) is None:
        time.sleep(POLL)
    os.environ[VISIBLE] = ",".join(taken[0])
    return taken[1]


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
