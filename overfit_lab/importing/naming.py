"""What imported runs and their folders are called."""

from __future__ import annotations

import re
from collections.abc import Sequence

from overfit_lab.errors import ConfigError
from overfit_lab.files.escape import for_file, short_hash


def folder_names(names: Sequence[str]) -> list[str]:
    """A flat name for each run, of letters, digits, ``_``, ``.`` and ``-``; no two are alike on any file system.

    Of names that would fall together those that had to be changed end in a hash of what they were.

    Example:
        >>> folder_names(["a/b", "a-b", "c/d"])
        ['a-b-c14cdd', 'a-b', 'c-d']
    """
    flat = [_flat(name) for name in names]
    folded = [name.casefold() for name in flat]
    return [
        f"{plain}-{short_hash(name)}" if folded.count(plain.casefold()) > 1 and plain != name else plain
        for name, plain in zip(names, flat, strict=True)
    ]


def _flat(name: str) -> str:
    plain = for_file(name, otherwise="run")
    return plain if plain[0].isalnum() else f"run{plain}"


def compiled(pattern: str | None) -> re.Pattern[str] | None:
    """The pattern that finds the seed in a name.

    Raises:
        ConfigError: it is no regular expression, or has no group called seed.
    """
    if pattern is None:
        return None
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--seed-pattern {pattern!r}: is no regular expression ({error})") from error
    if "seed" not in regex.groupindex:
        raise ConfigError(f"--seed-pattern {pattern!r}: expected a group called seed, such as '_s(?P<seed>[0-9]+)'")
    return regex


def seed_in(name: str, pattern: re.Pattern[str]) -> tuple[int, str]:
    """The seed in a run's name, and what remains of the name without what the pattern matched.

    Raises:
        ConfigError: the name has no seed, or it is no whole number.

    Example:
        >>> seed_in("trades_s3", re.compile("_s(?P<seed>[0-9]+)"))
        (3, 'trades')
    """
    match = pattern.search(name)
    if match is None:
        raise ConfigError(f"--seed-pattern {pattern.pattern!r}: is not in the name {name!r} of a run")
    seed = match["seed"]
    if seed is None or not re.fullmatch(r"[0-9]{1,18}", seed):
        raise ConfigError(f"--seed-pattern {pattern.pattern!r}: finds the seed {seed!r} in {name!r}, expected a number")
    return int(seed), (name[: match.start()] + name[match.end() :]).strip("-_/. ") or "run"
