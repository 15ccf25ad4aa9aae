"""Single keys from a terminal, without waiting for a line."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

ARROWS = {b"\x1b[A": "p", b"\x1b[B": "n", b"\x1b[C": "n", b"\x1b[D": "p", b"\t": "n"}
"""Arrows and tab, read as previous (p) and next (n)."""


@contextmanager
def keys() -> Iterator[Callable[[float], str]]:
    """A function that waits up to some seconds for a key and returns it, or ""; echo is off inside the block.

    Where stdin is no terminal it only waits.
    """
    if not sys.stdin.isatty():
        yield _wait
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield lambda seconds: _next(descriptor, seconds)
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _wait(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _next(descriptor: int, seconds: float) -> str:
    ready, _, _ = select.select([descriptor], [], [], seconds)
    if not ready:
        return ""
    pressed = os.read(descriptor, 16)
    if not pressed:  # the terminal is gone
        time.sleep(seconds)
    return ARROWS.get(pressed, pressed[:1].decode("ascii", "ignore"))
