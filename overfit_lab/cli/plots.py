"""Curves in characters."""

from __future__ import annotations

import numpy as np

DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""What each dot of a braille character adds to U+2800, (4, 2)."""


def plot(
    x: np.ndarray,
    y: np.ndarray,
    *,
    width: int,
    height: int,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    ascii_only: bool = False,
) -> list[str]:
    """A curve through points, as ``height`` lines of ``width`` characters.

    Braille characters have 2 x 4 dots each; in ASCII there is a star a character.

    Args:
        x: increasing (m,).
        y: finite (m,).
        width: in characters.
        height: in characters.
        x_range: what the first and last column stand for.
        y_range: what the lowest and highest row stand for; points beyond are drawn at the edge.
        ascii_only: no characters but ASCII.

    Example:
        >>> plot(np.array([0, 1, 2]), np.array([0, 1, 0]), width=3, height=2, x_range=(0, 2), y_range=(0, 1),
        ...      ascii_only=True)
        [' * ', '* *']
    """
    per_row, per_column = (1, 1) if ascii_only else DOTS.shape
    dots = np.zeros((height * per_row, width * per_column), dtype=bool)
    columns = _scaled(x, x_range, dots.shape[1])
    rows = dots.shape[0] - 1 - _scaled(y, y_range, dots.shape[0])
    dots[rows, columns] = True
    for i in range(len(x) - 1):
        n = 1 + max(abs(columns[i + 1] - columns[i]), abs(rows[i + 1] - rows[i]))
        between = np.linspace([rows[i], columns[i]], [rows[i + 1], columns[i + 1]], int(n)).round().astype(int)
        dots[between[:, 0], between[:, 1]] = True
    if ascii_only:
        return ["".join("*" if dot else " " for dot in line) for line in dots]
    cells = dots.reshape(height, per_row, width, per_column).transpose(0, 2, 1, 3)
    codes = 0x2800 + (cells * DOTS).sum(axis=(2, 3))
    return ["".join(chr(code) for code in line) for line in codes]


def columns_of(x: np.ndarray, width: int, x_range: tuple[float, float]) -> np.ndarray:
    """The characters' columns that values fall in, each (m,) in [0, width - 1]."""
    return _scaled(x, x_range, 2 * width) // 2


def _scaled(values: np.ndarray, between: tuple[float, float], n: int) -> np.ndarray:
    low, high = between
    share = (np.asarray(values, dtype=float) - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return np.clip((share * (n - 1)).round(), 0, n - 1).astype(int)
