"""The option ``normalize`` of every model: the source of its mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence

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
        check_constants(mean, std)
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
    check_constants(*parts)
    return parts[0], parts[1]


def check_constants(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse constants that are not those of pixels in [0, 1].

    Raises:
        ConfigError: a mean beyond [-1, 1], such as one in units of 0 to 255, or a standard deviation not in (0, 1].
    """
    if all(-1 <= m <= 1 for m in mean) and all(0 < s <= 1 for s in std):
        return
    means, stds = (",".join(f"{value:.4g}" for value in values) for values in (mean, std))
    advice = ""
    if any(abs(m) > 1 for m in mean) or any(s > 1 for s in std):
        scaled = "/".join(",".join(f"{value / 255:.4g}" for value in values) for values in (mean, std))
        advice = f"; divided by 255 they are {scaled}"
    raise ConfigError(
        f"normalisation by mean {means} and std {stds}: expected those of pixels in [0, 1], "
        f"means within [-1, 1] and standard deviations above 0 and at most 1{advice}"
    )
