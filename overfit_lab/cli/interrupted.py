"""How a command says that it was stopped."""

from __future__ import annotations


class Interrupted(Exception):
    """The user stopped a command; the message says how to go on. The command line ends with status 130."""
