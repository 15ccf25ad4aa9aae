"""A line chart as vector graphics: numbers to pixels, ticks, and a summary in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overfit_lab.views.figures.series import Curve
from overfit_lab.views.report.looks import PageLook

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 12, 36
"""Pixels of the picture, and of the margins around its panel."""
MOST_TICKS = 6
MOST_MARKERS = 30
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name, its look, and its curve."""

    name: str
    look: PageLook
    curve: Curve


@dataclass(frozen=True)
class Axis:
    """A range of numbers on a range of pixels, from the first to the last; ``log``: distances are of logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def pixel(self, value: float) -> float:
        """The pixel of a number, to a tenth."""
        low, high, position = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return round(self.start + (position - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round numbers in the range, :data:`MOST_TICKS` or so."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)


def _ticks(low: float, high: float) -> list[float]:
    power = 10 ** math.floor(math.log10((high - low) / MOST_TICKS))
    step = next(k * power for k in STEPS if (high - low) / (k * power) <= MOST_TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [k * 10.0**p for p in powers for k in factors if low <= k * 10.0**p <= high]
        if len(ticks) >= 3:
            break
    every = max(1, -(-len(ticks) // MOST_TICKS))
    return ticks[::every]


@dataclass(frozen=True)
class Chart:
    """A chart of lines over epochs.

    Args:
        name: of its element, unique on the page.
        kind: ``percent`` (of fractions), ``number``, or ``log``, which is a number on a logarithmic axis where all of
            its values are above zero.
        decays: epochs at which the learning rate falls.
        last: the last epoch on the axis.
        reach: lowest and highest number that the axis must hold, to share it with other charts; or None.
    """

    name: str
    title: str
    kind: str
    lines: tuple[Line, ...]
    decays: tuple[int, ...]
    last: int
    reach: tuple[float, float] | None = None

    @property
    def x(self) -> Axis:
        """The axis of epochs."""
        return Axis(0, max(self.last, 1), LEFT, WIDTH - RIGHT)

    @property
    def y(self) -> Axis:
        """The axis of values, with a little air above and below."""
        low, high = reach_of(self.lines, self.reach)
        if self.kind == "log" and low > 0:
            room = max(high / low, 1.2) ** 0.06
            return Axis(low / room, high * room, HEIGHT - BOTTOM, TOP, log=True)
        room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        floor = 0.0 if 0 <= low < 0.35 * high else low - room
        return Axis(floor, high + room, HEIGHT - BOTTOM, TOP)

    def value_text(self, value: float) -> str:
        """A value as text, in the chart's unit."""
        return number_text(value, self.kind)

    def tick_text(self, value: float) -> str:
        """A value as text of a tick."""
        return f"{100 * value:g}" if self.kind == "percent" else f"{value:g}"

    def summary(self) -> str:
        """The lines' highest and last values, in words."""
        phrases = [
            f"{line.name}: highest {self.value_text(c.mean.max())} at epoch {c.epoch[np.argmax(c.mean)]}, "
            f"last {self.value_text(c.mean[-1])} at epoch {c.epoch[-1]}"
            for line in self.lines
            for c in [line.curve]
        ]
        return f"{self.title} over epochs. {'; '.join(phrases)}."

    def path(self, line: Line) -> str:
        """The path of a line's means."""
        return "M" + "L".join(self._points(line.curve.epoch, line.curve.mean))

    def band(self, line: Line) -> str:
        """The outline from a line's lowest to its highest; "" for one run."""
        c = line.curve
        if c.n_runs < 2:
            return ""
        return "M" + "L".join([*self._points(c.epoch, c.high), *self._points(c.epoch[::-1], c.low[::-1])]) + "z"

    def dots(self, line: Line) -> list[str]:
        """Points of the markers; none if there would be too many."""
        if len(line.curve.epoch) > MOST_MARKERS:
            return []
        return list(self._points(line.curve.epoch, line.curve.mean))

    def _points(self, epochs: Iterable[float], values: Iterable[float]) -> Iterator[str]:
        x, y = self.x, self.y
        return (f"{x.pixel(e):g} {y.pixel(v):g}" for e, v in zip(epochs, values, strict=True))

    @property
    def epochs(self) -> list[int]:
        """Every epoch at which some line has a value."""
        return sorted({int(epoch) for line in self.lines for epoch in line.curve.epoch})

    def readings(self) -> list[tuple[int, list[str]]]:
        """Rows of the table beside the chart: an epoch, and the text of each line's value, "–" where it has none."""
        texts = [{int(e): self._reading(line.curve, i) for i, e in enumerate(line.curve.epoch)} for line in self.lines]
        return [(epoch, [text.get(epoch, "–") for text in texts]) for epoch in self.epochs]

    def _reading(self, curve: Curve, i: int) -> str:
        text = self.value_text(curve.mean[i])
        if curve.n_runs < 2:
            return text
        return f"{text} ({self.value_text(curve.low[i])} to {self.value_text(curve.high[i])})"

    def data(self) -> dict[str, Any]:
        """Data for the script that shows values: epochs and lines with their pixels."""
        x, y = self.x, self.y
        rows = self.readings()
        pixels = [
            {int(e): y.pixel(v) for e, v in zip(c.epoch, c.mean, strict=True)} for c in (ln.curve for ln in self.lines)
        ]
        return {
            "title": self.title,
            "epochs": [[epoch, x.pixel(epoch)] for epoch in self.epochs],
            "lines": [
                {
                    "name": line.name,
                    "color": line.look.color,
                    "texts": [texts[k] for _, texts in rows],
                    "pixels": [pixels[k].get(epoch) for epoch, _ in rows],
                }
                for k, line in enumerate(self.lines)
            ],
        }


def number_text(value: float, kind: str) -> str:
    """A value as text: fractions in percent, others to four digits."""
    if kind == "percent":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def reach_of(lines: Sequence[Line], reach: tuple[float, float] | None = None) -> tuple[float, float]:
    """The lowest and the highest number of some lines, and of a reach that must be held."""
    lows, highs = [float(line.curve.low.min()) for line in lines], [float(line.curve.high.max()) for line in lines]
    return min([*lows, *(reach[:1] if reach else ())]), max([*highs, *(reach[1:] if reach else ())])
