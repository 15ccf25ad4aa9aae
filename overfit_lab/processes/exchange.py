"""The message of an exchange between processes that fails."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from overfit_lab.errors import LostProcessError


@contextmanager
def exchanging() -> Iterator[None]:
    """Around an exchange: that it fails means that another process is gone or stands still.

    Raises:
        LostProcessError: in one line, which process lost the others and how.
    """
    try:
        yield
    except RuntimeError as error:
        match = re.search(r"[Tt]imed out (?:after )?(?:waiting )?(\d+) ?ms", str(error))
        timed_out = "imed out" in str(error) or "timeout" in str(error)
        waited = f" for {int(match[1]) / 1000:g} s" if match else " within the timeout"
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process ends by itself and says how
        text = f"another process did not answer{waited}" if timed_out else "another process is gone"
        raise LostProcessError(f"process {dist.get_rank()} of {dist.get_world_size()}: {text}") from error
