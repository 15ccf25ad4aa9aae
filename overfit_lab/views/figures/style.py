"""One look for every figure: readable at print size, in colour-blind eyes and in grey."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, MaxNLocator

from overfit_lab.errors import ConfigError
from overfit_lab.files.writing import output
from overfit_lab.views.figures.literal import LiteralFigure

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
    "#7F7F7F",
)
"""Okabe and Ito (2008): distinguishable with any colour vision."""


@dataclass(frozen=True)
class Look:
    """How one series is drawn: colour, dash pattern and marker, each enough to tell it apart."""

    color: str
    linestyle: str | tuple[int, tuple[int, ...]]
    marker: str

    def line(self) -> dict[str, Any]:
        """Keyword arguments of a line."""
        return {"color": self.color, "linestyle": self.linestyle}


LOOKS: Mapping[str, Look] = {
    "hard": Look(VERMILLION, "-", "o"),
    "smooth": Look(BLUE, (0, (5, 1)), "s"),
    "sglr": Look(GREEN, (0, (3, 1, 1, 1)), "^"),
}
OTHERS = (
    Look(PURPLE, (0, (1, 1)), "D"),
    Look(ORANGE, (0, (6, 2, 1, 2)), "v"),
    Look(SKY, (0, (4, 2)), "P"),
    Look(BLACK, "-", "X"),
)
LINES = (*LOOKS.values(), *OTHERS)
SPLITS: Mapping[str, dict[str, Any]] = {
    "train": {"color": VERMILLION, "linestyle": (0, (4, 2))},
    "test": {"color": BLUE, "linestyle": "-"},
}

RC: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "overfit-lab",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
COLUMN, PAGE = 3.4, 6.9
"""Widths in inches of one column and of the page in the field's two-column format."""


@contextmanager
def style() -> Iterator[None]:
    """The look inside the block; matplotlib's own settings are as before after it."""
    settings: Any = RC
    with mpl.rc_context(settings):
        yield


def new_figure(width: float, height: float, caption: str) -> Figure:
    """An empty figure, in inches, with a caption line below."""
    figure = LiteralFigure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.supxlabel(wrap_caption(caption, width), fontsize=6.5, color="#444444", x=0.01, ha="left")
    return figure


def wrap_caption(caption: str, width: float) -> str:
    """The caption in lines that fit a width in inches at the caption's size."""
    import textwrap

    return "\n".join(textwrap.wrap(caption, width=max(40, int(width * 21.5))))


def look_of(name: str, taken: Mapping[str, Look] | None = None) -> Look:
    """The look of a label mode, the same in every figure; other names get the next free one."""
    if name in LOOKS:
        return LOOKS[name]
    n = sum(key not in LOOKS for key in taken or {})
    first, second = OTHERS[n % len(OTHERS)], OTHERS[(n + n // len(OTHERS)) % len(OTHERS)]
    return Look(first.color, second.linestyle, second.marker)


def looks_of(names: list[str]) -> dict[str, Look]:
    """A look for each of several names."""
    looks: dict[str, Look] = {}
    for name in names:
        looks[name] = look_of(name, looks)
    return looks


class PercentTicks(Formatter):
    """Fractions in percent, without the sign, with as many decimals as the ticks need and 6 at most."""

    def __call__(self, value: float, pos: int | None = None) -> str:
        """A single number, such as the one under the pointer."""
        return self.fix_minus(f"{100 * value:g}")

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """All ticks of an axis, each with the same number of decimals."""
        percents = [100 * value for value in values]
        reach = max(map(abs, percents), default=0.0)
        exact = (d for d in range(6) if all(abs(round(p, d) - p) <= 1e-9 * reach for p in percents))
        decimals = next(exact, 6)
        return [self.fix_minus(f"{round(p, decimals) + 0.0:.{decimals}f}") for p in percents]


def percent_axis(axes: Axes, label: str) -> None:
    """The vertical axis in percent of fractions."""
    axes.yaxis.set_major_formatter(PercentTicks())
    axes.set_ylabel(f"{label} (%)")


def epoch_axis(axes: Axes, last: float, decays: Sequence[int] = (), **marks: bool) -> None:
    """The horizontal axis in epochs, from 0 to the last, with the marks of :func:`mark_stages`."""
    axes.set_xlim(0, last)
    axes.set_xlabel("epoch")
    # As by default, but that there is no part of an epoch.
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    mark_stages(axes, decays, last, **marks)


def mark_stages(axes: Axes, decays: Sequence[int], last: float, *, label: bool = False, shade: bool = True) -> None:
    """Thin lines at the learning-rate decays; the stage after the first, where overfitting grows, lightly shaded.

    With ``label`` the stages are named, in a narrow one upright.
    """
    for decay in decays:
        axes.axvline(decay, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0.5)
    if decays and shade:
        axes.axvspan(decays[0], last, color="#F3F0E8", zorder=0)
    if decays and label:
        transform = axes.get_xaxis_transform()
        place: dict[str, Any] = {
            "transform": transform,
            "fontsize": 6.5,
            "color": "#555555",
            "va": "top",
            "ha": "center",
        }
        upright = 0 if decays[0] >= 0.25 * last else 90
        axes.text(decays[0] / 2, 0.985, "stationary", rotation=upright, **place)
        axes.text((decays[0] + last) / 2, 0.985, "growth", **place)


SUFFIXES: Mapping[str, dict[str, Any]] = {
    ".png": {"dpi": 200, "metadata": {"Software": None}},
    ".pdf": {"metadata": {"CreationDate": None, "Producer": None, "Creator": None}},
    ".svg": {"metadata": {"Date": None, "Creator": None}},
}


def check_path(path: Path) -> None:
    """Refuse a path that a figure cannot be saved to.

    Raises:
        ConfigError: the suffix is not .png, .pdf or .svg, or the folder does not exist.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: expected a file ending in .png, .pdf or .svg")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: no such folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder, expected a file to write")


def as_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file; the same figure gives the same bytes."""
    content = io.BytesIO()
    with style():
        figure.savefig(content, format="png", **SUFFIXES[".png"])
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the same figure gives the same bytes.

    Raises:
        ConfigError: see :func:`check_path`; also where the file cannot be written.
    """
    check_path(path)
    suffix = path.suffix.lower()
    with output(path) as file, style():
        figure.savefig(file, format=suffix[1:], **SUFFIXES[suffix])
