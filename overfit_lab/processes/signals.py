"""Which signals stop a command, and how: the one owner of signal handlers.

A signal that stops raises KeyboardInterrupt once, at which whatever runs puts itself in order; a second one ends the
process at once. What was ignored when the process was begun, such as SIGHUP under ``nohup``, stays ignored.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOPPING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
"""Signals that stop a command, where the system has them: Ctrl-C, schedulers, a closed terminal, a limit on time."""
ALWAYS = (signal.SIGINT, signal.SIGTERM)
"""Those that stop jobs also where somebody else handles them."""
OF_ONE = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGXCPU") if hasattr(signal, name))
"""Those that are meant for one process alone; the others reach a terminal's or a scheduler's whole group."""
TOGETHER = 1.0
"""Seconds within which a further signal is the same order given twice, as by a terminal and by a scheduler."""

Handler = Callable[[int, Any], None]


class _Heard:
    """The signal that this process was stopped by, and when; signals are the process's own, and so is this."""

    number: int | None = None
    when = 0.0
    by_command = False

    def hear(self, number: int) -> bool:
        """Note a signal; whether it is the first one. A later one ends a command at once."""
        if self.number is None:
            self.number, self.when = number, time.monotonic()
            _leave_closed_terminal()
            return True
        if self.by_command and time.monotonic() - self.when > TOGETHER:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return False


_heard = _Heard()


def heard_in_words() -> str:
    """`` by SIGHUP`` for the signal that stopped this command; nothing for Ctrl-C, SIGTERM or none."""
    number = _heard.number
    return "" if number is None or number in ALWAYS else f" by {signal.Signals(number).name}"


@contextmanager
def stopping_a_command() -> Iterator[None]:
    """Inside, the first signal that stops raises KeyboardInterrupt (only possible in the main thread)."""

    def stop(number: int, _: Any) -> None:
        if _heard.hear(number):
            raise KeyboardInterrupt

    _heard.number, _heard.by_command = None, True
    try:
        with _handled(stop):
            yield
    finally:
        _heard.by_command = False


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """Signals that stop set the event instead of interrupting just anywhere (only possible in the main thread)."""
    stop = threading.Event()

    def set_it(number: int, _: Any) -> None:
        if not _heard.by_command or _heard.hear(number):
            stop.set()

    with _handled(set_it, ALWAYS):
        yield stop


@contextmanager
def _handled(handler: Handler, always: Iterable[int] = ()) -> Iterator[None]:
    """Signals that stop go to a handler: those that nobody ignores or handles, or our own, and ``always`` some."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    ours = {number: found for number, found in before.items() if number in always or _is_free(found)}
    for number in ours:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, found in ours.items():
            signal.signal(number, found if found is not None else signal.SIG_DFL)


def _is_free(handler: Any) -> bool:
    default = handler is signal.SIG_DFL or handler is signal.default_int_handler
    return default or getattr(handler, "__module__", None) == __name__


def in_a_job() -> None:
    """In a process that a command has begun: what is meant for all is left to the command, which stops its jobs."""
    for number in STOPPING:
        signal.signal(number, _interrupt_once if number in OF_ONE else signal.SIG_IGN)


def _interrupt_once(number: int, _: Any) -> None:
    """Raise KeyboardInterrupt, and let no second signal disturb what is then put in order."""
    _heard.number = number
    for other in OF_ONE:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _leave_closed_terminal() -> None:
    """Print nowhere from now on where the terminal is gone, so that what is still said raises nothing."""
    import errno
    import termios

    for stream in (sys.stdout, sys.stderr):
        try:
            handle = stream.fileno()
            termios.tcgetattr(handle)
        except termios.error as error:
            if error.args[0] != errno.ENOTTY:  # it was hung up
                with suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), handle)
        except (OSError, ValueError, AttributeError):
            continue
