"""A figure that draws names as they are: no formula is read from them; what a font has not is shown by its number."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.ticker import Formatter, FuncFormatter

from overfit_lab.files.escape import for_terminal_lines

FORMULA = "formula"
"""Marks a text whose formulas are set in type, since it is of ours and no name is in it."""


def formula(text: Text) -> Text:
    """Mark a text as one whose ``$...$`` is a formula."""
    text.set_label(FORMULA)
    return text


class LiteralFigure(Figure):
    """A figure that sees to its texts before each drawing, in any format and by any window."""

    def draw(self, renderer: Any) -> None:
        """Draw the figure, with its texts as they are."""
        self.see_to_texts()
        super().draw(renderer)

    def see_to_texts(self) -> None:
        """Take markup and what cannot be seen from every text but those of :func:`formula`."""
        axes: Sequence[Axis] = [axis for panel in self.axes for axis in (panel.xaxis, panel.yaxis)]
        ticks: set[Text] = set()
        for axis in axes:
            named = isinstance(axis.get_major_formatter(), FuncFormatter | Literal)
            if named and not isinstance(axis.get_major_formatter(), Literal):
                axis.set_major_formatter(Literal(axis.get_major_formatter()))
            if named:
                for label in axis.get_majorticklabels():
                    label.set_parse_math(False)
            ticks |= set(axis.findobj(Text)) - {axis.label}  # type: ignore[arg-type]
        for text in self.findobj(Text):
            if isinstance(text, Text) and text not in ticks and text.get_label() != FORMULA:
                text.set_parse_math(False)
                text.set_text(drawable(text.get_text(), text.get_fontproperties()))


class Literal(Formatter):
    """Ticks that are names, which are drawn as they are."""

    def __init__(self, names: Formatter) -> None:
        self.names = names

    def __call__(self, value: float, pos: int | None = None) -> str:
        """The name at a place."""
        return drawable(self.names(value, pos), FontProperties())


def drawable(text: str, font: FontProperties) -> str:
    r"""Text of which every character can be drawn; others are shown by their number.

    Example:
        >>> drawable("a\x1b \u4e2d $", FontProperties(family="DejaVu Sans"))
        'a\\x1b \\u4e2d $'
    """
    text = for_terminal_lines(text)
    if text.isascii():
        return text
    known = set().union(*map(_characters, font.get_family()))
    return "".join(c if c == "\n" or ord(c) in known else c.encode("unicode_escape").decode("ascii") for c in text)


@cache
def _characters(family: str) -> frozenset[int]:
    """Codes of the characters that a family of fonts has."""
    return frozenset(get_font(findfont(FontProperties(family=[family]))).get_charmap())
