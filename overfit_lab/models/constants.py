"""The option ``normalize`` of every model: the source of its mean and standard deviation."""

from __future__ import annotations

import math

from overfit_lab.errors import ConfigError

Constants = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, in [0, 1] pixels."""

EXPECTED = "expected data, none, or MEAN/STD such as 0.4914,0.4822,0.4465/0.2470,0.2435,0.2616"


def check_normalize(value: object) -> str:
    """The option in the form that is recorded.

    Raises:
        ConfigError: none of the three spellings.
    """
    if value is None:
        return "none"
    text = str(value).replace(" ", "")
    if text not in ("data", "none"):
        _parse(text)
    return text


def choose_constants(option: str | None, mean: tuple[float, ...], std: tuple[float, ...]) -> Constants:
    """Mean and standard deviation that the option names.

    Args:
        option: ``data`` or None: those of the data set; ``none``: 0 and 1; else ``MEAN/STD``, one number for each
            channel or one for all.

    Raises:
        ConfigError: the number of values fits neither one nor the images' channels.
    """
    if option is None or option == "data":
        return tuple(mean), tuple(std)
    if option == "none":
        return (0.0,) * len(mean), (1.0,) * len(mean)
    numbers = _parse(option)
    if any(len(part) not in (1, len(mean)) for part in numbers):
        counts = " and ".join(str(len(part)) for part in numbers)
        raise ConfigError(f"model.normalize = {option!r}: {counts} numbers for images of {len(mean)} channels")
    first, second = (part * len(mean) if len(part) == 1 else part for part in numbers)
    return first, second


def _parse(text: str) -> Constants:
    mean, slash, std = text.partition("/")
    try:
        parts = tuple(tuple(float(number) for number in part.split(",")) for part in (mean, std))
    except ValueError:
        parts = ()
    if not slash or len(parts) != 2:
        raise ConfigError(f"model.normalize = {text!r}: {EXPECTED}")
    if not all(math.isfinite(m) for m in parts[0]) or not all(math.isfinite(s) and s > 0 for s in parts[1]):
        raise ConfigError(f"model.normalize = {text!r}: means have to be finite and standard deviations positive")
    return parts[0], parts[1]
