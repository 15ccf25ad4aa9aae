"""The figures of the registry as images embedded in the page."""

from __future__ import annotations

import base64
import inspect
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import matplotlib as mpl
from matplotlib.figure import Figure

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import OverfitLabError
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.style import SUFFIXES, style

LARGEST_SVG = 700_000
"""Bytes above which a figure, such as one of thousands of dots, is embedded in pixels instead of lines."""

ONE_WAY = frozenset({"fig1"})
"""Figures that draw one way of training only; a finding about another way needs a figure of its own."""


@dataclass(frozen=True)
class Drawing:
    """A figure of some runs, or why there is none.

    Args:
        anchor: its place on the page; no other has the same.
        runs: names of the runs that were asked for.
        image: a ``data:`` address, or "" where it could not be drawn.
        size: width and height in CSS pixels.
        missing: why it could not be drawn, one line, or "".
    """

    name: str
    anchor: str
    about: str
    runs: tuple[str, ...]
    image: str = ""
    size: tuple[int, int] = (0, 0)
    missing: str = ""


def draw_all(runs: Sequence[Run], wanted: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Drawing]:
    """Every figure of all runs that hold records; then the figures that findings ask for of some runs alone.

    ``wanted`` are pairs of a figure and names of runs; no names stand for all runs.
    """
    drawn: set[str] = set()
    for name in FIGURES:
        drawing = draw(name, runs, f"figure-{name}")
        if drawing.image and name not in ONE_WAY:
            drawn.add(name)
        yield drawing
    everything = {run.name for run in runs}
    new = ((name, tuple(names)) for name, names in wanted if name not in drawn and set(names) < everything)
    for number, (name, names) in enumerate(dict.fromkeys((name, names) for name, names in new if names), start=1):
        yield replace(draw(name, [run for run in runs if run.name in names], f"figure-{name}-{number}"), runs=names)


def draw(name: str, runs: Sequence[Run], anchor: str) -> Drawing:
    """One figure of the runs that hold records."""
    names, about = tuple(run.name for run in runs), ""
    try:
        component = FIGURES[name]
        about = " ".join((inspect.getdoc(component) or name).split("\n\n")[0].split()).replace("``", "")
        figure = component([run for run in runs if len(run.records)])
        image = embedded(figure)
    except (OverfitLabError, ValueError) as error:  # a name may be no formula that matplotlib can read
        return Drawing(name, anchor, about, names, missing=" ".join(str(error).removeprefix(f"{name}: ").split()))
    width, height = figure.get_size_inches() * 96
    return Drawing(name, anchor, about, names, image, (round(width), round(height)))


def embedded(figure: Figure) -> str:
    """A figure as a ``data:`` address; the same figure gives the same text."""
    content, kind = _bytes(figure, ".svg"), "svg+xml"
    if len(content) > LARGEST_SVG:
        content, kind = _bytes(figure, ".png"), "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _bytes(figure: Figure, suffix: str) -> bytes:
    buffer = io.BytesIO()
    with style(), mpl.rc_context({"svg.fonttype": "path"}):  # an image within a page has no fonts of its own
        figure.savefig(buffer, format=suffix[1:], **SUFFIXES[suffix])
    return buffer.getvalue()
