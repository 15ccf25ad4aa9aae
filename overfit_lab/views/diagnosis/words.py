"""Words and numbers of sentences; each number is also stored unrounded under its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Numbers(Mapping[str, float]):
    """Collects the numbers of a sentence while it is written.

    Example:
        >>> numbers = Numbers()
        >>> f"It loses {numbers.points('loss', 0.0931)} points from epoch {numbers.plain('onset', 12.0)} on."
        'It loses 9.3 points from epoch 12 on.'
        >>> dict(numbers)
        {'loss': 0.0931, 'onset': 12.0}
    """

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def percent(self, name: str, value: float) -> str:
        """A share as ``13.8%``."""
        return f"{self.points(name, value)}%"

    def points(self, name: str, value: float) -> str:
        """A share, or a difference of shares, in percentage points, without a unit: ``9.3``."""
        self._values[name] = float(value)
        return f"{round(100 * value, 1) + 0.0:.1f}"

    def plain(self, name: str, value: float) -> str:
        """Any number to three digits, whole ones as they are: ``0.591``, ``12``, ``38,387``."""
        self._values[name] = float(value)
        return plain(value)

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def plain(value: float) -> str:
    """Three digits without an exponent; whole numbers and large ones without decimals, none beyond the fourth."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 5e-5:
        return "0"
    if value == round(value, 2) and abs(value) < 1:
        return f"{value:g}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3 if abs(value) >= 0.1 else 4
    return f"{value:.{digits}f}"


def overfitting_of(accuracy: str) -> str:
    """The name of overfitting of ``robust`` or ``clean`` accuracy."""
    return "robust overfitting" if accuracy == "robust" else "overfitting of clean accuracy"


def listed(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def seeds(n: int, of: int) -> str:
    """``in 2 of 3 seeds``, or ``in this run`` for one."""
    return f"in {n} of {of} seeds" if of > 1 else ("in this run" if n else "not in this run")


def epochs(first: float, last: float) -> str:
    """``epoch 10`` or ``epochs 40 to 50``."""
    return f"epoch {first:g}" if first == last else f"epochs {first:g} to {last:g}"
