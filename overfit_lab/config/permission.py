"""Whose code may be imported: names that the user typed, and those of files that the user trusts.

A name ``package.module:Attribute`` may come from anywhere: a run folder that somebody sent, a sweep's file, a record.
So the one place that imports such names (:func:`~.registry.import_object`) asks here. On the command line the answer is
no unless the name was typed, or ``--trust`` was. In Python it is yes unless the name stands in a file that was read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Permission:
    """What may be imported; plain values, so that worker processes get it as an argument.

    Args:
        texts: what the user wrote; every name in them may be imported.
        everything: the user said ``--trust``.
        folder: is on the search path while a permitted name is imported, and at no other time; "" for none.
        in_python: names come from the user's own Python, where no file said them.
        read: what files said.
    """

    texts: frozenset[str] = frozenset()
    everything: bool = False
    folder: str = ""
    in_python: bool = False
    read: frozenset[str] = frozenset()

    def covers(self, name: str) -> bool:
        """Whether a name may be imported."""
        if self.everything:
            return True
        pattern = re.compile(rf"(?<![\w./-]){re.escape(name)}(?![\w./-])")  # no part of a path or of a longer name
        if any(name in text and pattern.search(text) for text in self.texts):
            return True
        return self.in_python and not any(name in text for text in self.read)


NOTHING = Permission()
_granted = Permission(in_python=True)


def current() -> Permission:
    """What may be imported now, to hand to a worker process."""
    return _granted


def grant(permission: Permission) -> None:
    """Let this process import what its parent may import; for the first line of a worker."""
    global _granted
    _granted = permission


def allow(*texts: str) -> None:
    """Let names be imported that stand in these texts: the user wrote them.

    Example:
        >>> with granted(Permission()):
        ...     allow("labels.name=mine:Labels")
        ...     current().covers("mine:Labels"), current().covers("other:Labels")
        (True, False)
    """
    grant(replace(_granted, texts=_granted.texts.union(text for text in texts if ":" in text)))


def read_from_file(content: object) -> None:
    """What stands in these nested plain values was not written by the user: its names are only imported if allowed."""
    grant(replace(_granted, read=_granted.read.union(text for text in strings_of(content) if ":" in text)))


def allow_everything() -> None:
    """Let every name be imported: the user said ``--trust``."""
    grant(replace(_granted, everything=True))


@contextmanager
def granted(permission: Permission) -> Iterator[None]:
    """Inside, this may be imported and no more; afterwards what could be before."""
    before = _granted
    grant(permission)
    try:
        yield
    finally:
        grant(before)


@contextmanager
def searching() -> Iterator[None]:
    """The folder of the user's own modules is on the search path, last, so that it hides no installed library."""
    folder = _granted.folder
    if not folder or folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def strings_of(content: object) -> Iterable[str]:
    """Every string in nested plain values, keys among them."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from strings_of(key)
            yield from strings_of(value)
    elif isinstance(content, list | tuple | set | frozenset):
        for value in content:
            yield from strings_of(value)
