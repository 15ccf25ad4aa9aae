"""What is printed: every line of text passes through here, so that no name from a file reaches a terminal as it is.

Tables and bars that rich draws have a door of their own, :mod:`overfit_lab.cli.console`.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from overfit_lab.files.escape import for_terminal, for_terminal_lines


def say(line: str = "", *, err: bool = False) -> None:
    """Print one line on stdout or stderr, at once; see :func:`~.escape.for_terminal`.

    What the stream's encoding has not is shown by its number.
    """
    say_lines(for_terminal(line), err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """As :func:`say`, for a text of several lines."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = for_terminal_lines(text).encode(encoding, "backslashreplace").decode(encoding)
    with suppress(*([OSError, ValueError] if err else [])):  # nobody reads it any more, or the terminal is gone
        print(text, file=stream, flush=True)


def to_stderr(line: str) -> None:
    """Say something on stderr, in one line that begins with the command's name; it ends nothing."""
    say(f"overfit-lab: {line}", err=True)
