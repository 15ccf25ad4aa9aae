"""The looks of the figures as the page's style sheet knows them: a class for the colour, dashes and a marker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overfit_lab.views.figures.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, Look, looks_of

CLASSES = {
    VERMILLION: "vermillion",
    BLUE: "blue",
    GREEN: "green",
    PURPLE: "purple",
    ORANGE: "orange",
    SKY: "sky",
    BLACK: "ink",
}
"""Colours of the figures to classes of the style sheet, which has a lighter one of each for dark pages."""
SHAPES = {
    "o": "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z",
    "s": "M-2.9 -2.9h5.8v5.8h-5.8z",
    "^": "M0 -3.8l3.7 6.6h-7.4z",
    "D": "M0 -4l4 4l-4 4l-4 -4z",
    "v": "M0 3.8l3.7 -6.6h-7.4z",
    "P": "M-1.3 -3.6h2.6v2.3h2.3v2.6h-2.3v2.3h-2.6v-2.3h-2.3v-2.6h2.3z",
    "X": "M-3.6 -2l2 -2l1.6 2l1.6 -2l2 2l-1.8 2l1.8 2l-2 2l-1.6 -2l-1.6 2l-2 -2l1.8 -2z",
}
"""Markers as paths around the origin."""
DASH_UNIT = 2.0
"""Pixels of one unit of a figure's dashes."""


@dataclass(frozen=True)
class PageLook:
    """How a line is drawn: class of its colour, ``stroke-dasharray`` ("" for none) and path of its marker."""

    color: str
    dashes: str
    marker: str


def page_looks(keys: Sequence[str]) -> list[PageLook]:
    """A look for each key: as the figures draw it."""
    return [_page_look(looks_of(list(keys))[key]) for key in keys]


def _page_look(look: Look) -> PageLook:
    pattern = look.linestyle[1] if isinstance(look.linestyle, tuple) else ()
    dashes = " ".join(f"{DASH_UNIT * part:g}" for part in pattern)
    return PageLook(CLASSES.get(look.color, "ink"), dashes, SHAPES.get(look.marker, SHAPES["o"]))
