"""A slider over a run's epochs."""

from __future__ import annotations

import base64
from contextlib import suppress
from functools import cached_property
from typing import Any

from overfit_lab.errors import unknown_name
from overfit_lab.files.escape import for_terminal
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.at_epoch import FIGURES, epochs_of, spread
from overfit_lab.views.figures.style import as_png

PIXELS_PER_INCH = 100


class EpochSlider:
    """A figure of one run with a slider over the epochs that have it.

    In a notebook the last expression of a cell shows it. Beside the slider its output holds a static picture of a few
    epochs, for places where widgets do not work: a saved notebook, a page on a code host, a converted document.
    A picture is drawn when its epoch is first selected, and cached.

    Args:
        run: a run with arrays at some epochs.
        figure: ``map``, ``reliability`` or ``confidence``.

    Raises:
        UnknownNameError: another figure.
        RunFolderError: the run has nothing to draw it from.
    """

    def __init__(self, run: Run, figure: str = "reliability") -> None:
        if figure not in FIGURES:
            raise unknown_name("figure over epochs", figure, FIGURES)
        self.run, self.figure = run, figure
        self.epochs = epochs_of(run, figure)
        self.still = as_png(FIGURES[figure](run, spread(self.epochs)))
        self._pictures: dict[int, bytes] = {}

    def picture(self, epoch: int) -> bytes:
        """The figure at one epoch as PNG."""
        if epoch not in self._pictures:
            self._pictures[epoch] = as_png(FIGURES[self.figure](self.run, epoch))
        return self._pictures[epoch]

    @cached_property
    def widget(self) -> Any:
        """The slider above the picture; needs ipywidgets, which jupyter brings."""
        import ipywidgets

        last = self.epochs[-1]
        slider = ipywidgets.SelectionSlider(
            options=self.epochs, value=last, description="epoch", continuous_update=True, layout={"width": "480px"}
        )
        image = ipywidgets.Image(value=self.picture(last), format="png", width=430)

        def moved(change: dict[str, Any]) -> None:
            image.value = self.picture(change["new"])

        slider.observe(moved, names="value")
        return ipywidgets.VBox([slider, image])

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The static picture, and the widget for front ends that have it; IPython calls this."""
        content: dict[str, Any] = {
            "text/plain": for_terminal(f"{self.figure} of {self.run.name} at epochs {self.epochs}")
        }
        with suppress(ImportError):
            content |= self.widget._repr_mimebundle_() or {}
        content["image/png"] = base64.b64encode(self.still).decode("ascii")
        return content, {"image/png": {"width": _width(self.still)}}


def _width(png: bytes) -> int:
    """Width on the screen in pixels: the file is drawn finer than it is shown."""
    from overfit_lab.views.figures.style import SUFFIXES

    in_file = int.from_bytes(png[16:20], "big")
    return round(in_file * PIXELS_PER_INCH / SUFFIXES[".png"]["dpi"])


def epoch_slider(run: Run, figure: str = "reliability") -> EpochSlider:
    """A figure of one run that one can move through its epochs; see :class:`EpochSlider`.

    Args:
        run: a run with arrays at some epochs.
        figure: ``map`` (t-SNE of the features), ``reliability`` or ``confidence``.

    Example:
        ``epoch_slider(Run.open("runs/mine"), "reliability")`` as the last line of a cell.
    """
    return EpochSlider(run, figure)
