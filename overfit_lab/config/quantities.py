"""Numbers that are written as text, read in one way everywhere: pixels, moments of a run, sizes, times, shares."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_fraction(value: Any) -> Any:
    """A number, also when written as a fraction: ``"8/255"`` is 8 divided by 255."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{value!r} is not a number or a fraction such as 8/255") from error
    return value


def format_pixels(value: float) -> float | str:
    """The way a pixel distance is written: as k/255 where that is exactly the number."""
    n = round(value * 255)
    return f"{n}/255" if n > 0 and n / 255 == value else value


Pixels = Annotated[
    float,
    BeforeValidator(parse_fraction),
    PlainSerializer(format_pixels, return_type=float | str, when_used="always"),
]
"""A distance in pixel units of [0, 1]; accepts and prints fractions such as 8/255."""


def parse_percent(value: Any) -> float | None:
    """The share that text such as ``"50%"`` says, 0 or more; None for anything else."""
    match = re.fullmatch(rf"\s*{NUMBER}\s*%\s*", value) if isinstance(value, str) else None
    return float(match[1]) / 100 if match else None


def check_moment(value: Any) -> int | str:
    """An epoch, or a share of the run such as ``"50%"``.

    Raises:
        ValueError: neither a whole number >= 0 nor a percentage in 0%..100%.
    """
    if isinstance(value, str) and value.rstrip().endswith("%"):
        share = parse_percent(value)
        if share is None or share > 1:
            raise ValueError(f"{value!r} is not a share of the run between 0% and 100%")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is neither an epoch (a whole number) nor a share of the run such as '50%'")
    try:
        epoch = int(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is neither an epoch (a whole number) nor a share such as '50%'") from error
    if epoch < 0:
        raise ValueError(f"{value!r}: an epoch is 0 or more")
    return epoch


Moment = Annotated[int | str, BeforeValidator(check_moment)]
"""A point in training: a number of completed epochs, or a share of the run such as ``"50%"``."""


def resolve_moment(moment: int | str, n_epochs: int) -> int:
    """The number of completed epochs that a :data:`Moment` stands for in a run of ``n_epochs`` (rounded down)."""
    if isinstance(moment, str):
        return math.floor((parse_percent(moment) or 0.0) * n_epochs + 1e-9)
    return moment


def parse_share(value: Any) -> float:
    """A share of something in (0, 1]: ``"5%"`` or ``0.05``, as text or as a number.

    A mere number is below 1, so that nobody's ``1`` is taken for 100% where 1% was meant.

    Example:
        >>> parse_share("5%"), parse_share(0.05), parse_share(".05")
        (0.05, 0.05, 0.05)

    Raises:
        ValueError: anything else.
    """
    share = parse_percent(value)
    if share is None and (type(value) in (int, float) or re.fullmatch(rf"\s*{NUMBER}\s*", str(value))):
        share = float(value) if float(value) < 1 else None
    if share is None or not 0 < share <= 1:
        raise ValueError(f"{value!r}: expected a share above 0% and up to 100%, such as '5%' or 0.05")
    return share


def parse_size(value: Any) -> int:
    """Bytes: ``8GB`` and ``8G`` are 8 * 10^9, ``512MiB`` is 512 * 2^20, ``100B`` is 100; in either case of letters.

    A number without a unit is refused: bytes to one reader are gigabytes to another.

    Example:
        >>> parse_size("4 GB"), parse_size(".5k"), parse_size("512MiB")
        (4000000000, 500, 536870912)

    Raises:
        ValueError: anything else, or nothing at all.
    """
    match = re.fullmatch(rf"\s*{NUMBER}\s*(?:([kmgt])(i?)b?|b)\s*", str(value), re.IGNORECASE)
    base = 1 if match is None else 1024 if match[3] else 1000
    size = 0 if match is None else int(Fraction(match[1]) * base ** PREFIXES[(match[2] or "").lower()])
    if size <= 0:
        raise ValueError(f"{value!r}: expected a size above 0 with its unit, such as 8GB, 512MiB or 100B")
    return size


def parse_time(value: Any) -> float:
    """Seconds: ``30s``, ``2m`` or ``2 min``, ``1.5h``, ``1d``, and ``1:30:00`` or ``2-12:00:00`` with days.

    ``1:30`` is an hour and a half. A number without a unit is refused: seconds to one reader are minutes to another.
    In YAML ``1:30:00`` stands in quotes, else it is the number 5400.

    Example:
        >>> parse_time("2 h"), parse_time("1:30:00"), parse_time(".5 min")
        (7200.0, 5400.0, 30.0)

    Raises:
        ValueError: anything else, or no time at all.
    """
    seconds = 0.0
    if clock := re.fullmatch(r"\s*(?:(\d+)-)?(\d+):([0-5]\d)(?::([0-5]\d))?\s*", str(value)):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        seconds = float(86400 * days + 3600 * hours + 60 * minutes + rest)
    elif match := re.fullmatch(rf"\s*{NUMBER}\s*(s|m|min|h|d)\s*", str(value), re.IGNORECASE):
        seconds = float(match[1]) * SECONDS[match[2].lower()]
    if seconds <= 0:
        raise ValueError(f"{value!r}: expected a time above 0 with its unit, such as 30s, 2 min, 1.5h, 1d or '1:30:00'")
    return seconds


def _checked(parse: Callable[[Any], float]) -> BeforeValidator:
    """A validator that leaves a quantity as it was written, so that a file says what its author said."""

    def check(value: Any) -> Any:
        parse(value)
        return value

    return BeforeValidator(check)


Size = Annotated[str, _checked(parse_size)]
"""A size as text; :func:`parse_size` reads it."""
Time = Annotated[str, _checked(parse_time)]
"""A time as text; :func:`parse_time` reads it."""
Share = Annotated[str | float, _checked(parse_share)]
"""A share as text or a number; :func:`parse_share` reads it."""
