"""Whether gradients can be trusted: robust accuracy over steps and over eps, and the evidence of every check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from overfit_lab.errors import RunFolderError
from overfit_lab.records.naming import pixels
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.draw import legend_above, note_no_reading
from overfit_lab.views.figures.style import (
    BLUE,
    GREY,
    LINES,
    PAGE,
    VERMILLION,
    Look,
    PercentTicks,
    new_figure,
    percent_axis,
    style,
)

PROBE = "masking"
LEAST = 0.002
"""Smallest share on the logarithmic axis of evidence; a share of zero is drawn there."""
TICKS = (0.01, 0.1, 1.0)
LOOKED = (Look(BLUE, "-", "o"), Look(VERMILLION, (0, (5, 1)), "s"), *LINES[2:])


def draw(runs: Sequence[Run]) -> Figure:
    """Accuracy over PGD steps, accuracy over eps, and each check's evidence beside its limit, one look a run.

    Bars and bands are exact 95% intervals. A check is suspicious where its whole bar lies right of the limit; its
    marker is then filled. Of each run the last checkpoint that was checked is drawn.

    Raises:
        RunFolderError: nothing to draw, or a run was not checked.
    """
    if not runs:
        raise RunFolderError("masking: no runs to draw")
    checked = {title: arrays for run in runs for title, arrays in _checked(run)}
    looks = {name: LOOKED[i % len(LOOKED)] for i, name in enumerate(checked)}
    with style():
        counts = sorted({max(int(e[4]) for e in _evidence_of(arrays).values()) for arrays in checked.values()})
        note = f"{' / '.join(f'{n:,}' for n in counts)} samples; bands and bars: exact 95% interval; "
        note += f"filled: clearly beyond the limit (vertical stroke); shares below {LEAST:.1%} are drawn there"
        n_checks = len({check for arrays in checked.values() for check in _evidence_of(arrays)})
        height = max(2.9, 1.5 + 0.045 * n_checks * len(checked))
        figure = new_figure(PAGE, height, caption(list(runs), extra=note, shows="each"))
        steps, eps, evidence = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
        for name, arrays in checked.items():
            _curve(steps, arrays, "curve-more-steps", looks[name], name)
            _curve(eps, arrays, "curve-larger-eps", looks[name], name)
        for axes in (steps, eps):
            if not axes.get_lines():
                note_no_reading(axes)
        _steps_axis(steps)
        _eps_axis(eps, runs)
        _evidence(evidence, checked, looks)
        if len(checked) > 1:
            legend_above(figure, *steps.get_legend_handles_labels())
    return figure


def _checked(run: Run) -> list[tuple[str, dict[str, np.ndarray]]]:
    """A run's checks, by title: of its raw weights, and of a regularizer's second weights."""
    other_weights = {path.stem.rpartition("-")[0] for path in (run.folder / "arrays").glob(f"{PROBE}@*-*.npz")}
    checked = []
    for probe in (PROBE, *sorted(other_weights)):
        epochs = run.epochs_with_arrays(probe)
        if epochs:
            weights = probe.partition("@")[2]
            parts = [run.name, weights, f"epoch {epochs[-1]}" if len(epochs) > 1 and not run.is_imported else ""]
            title = ", ".join(part for part in parts if part)
            checked.append((title, run.arrays(probe, epochs[-1])))
    if not checked:
        raise RunFolderError(f"masking: {run.folder} was not checked; use `overfit-lab check {quote(str(run.folder))}`")
    return checked


def _evidence_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By check: share, its interval, the limit, and the samples (5,)."""
    prefix = "evidence-"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _curve(axes: Axes, arrays: Mapping[str, np.ndarray], key: str, look: Look, name: str) -> None:
    if key not in arrays:
        return
    x, value, low, high, _ = arrays[key].T
    axes.fill_between(x, low, high, color=look.color, alpha=0.18, linewidth=0)
    axes.plot(x, value, marker=look.marker, label=name, **look.line())


def _steps_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes.minorticks_off()
    axes.set_xlabel("PGD steps")
    axes.set_title("(a) more steps")
    axes.set_ylim(0, 1)
    percent_axis(axes, "robust test accuracy")


def _eps_axis(axes: Axes, runs: Sequence[Run]) -> None:
    radii = {run.config.attack.eps for run in runs}
    axes.set_xscale("symlog", linthresh=min(radii) / 4)
    for eps in radii:
        axes.axvline(eps, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0.5)
    axes.set_xticks([0.0, *sorted(radii), max(1.0, 8 * max(radii))])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value in (0, 1) else pixels(value)))
    axes.minorticks_off()
    axes.set_xlabel("eps (dotted: the run's)")
    axes.set_title("(b) larger ball")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentTicks())


def _evidence(axes: Axes, checked: Mapping[str, Mapping[str, np.ndarray]], looks: Mapping[str, Look]) -> None:
    names = sorted({check for arrays in checked.values() for check in _evidence_of(arrays)})
    apart = 0.6 / max(1, len(checked))
    for i, (run, arrays) in enumerate(checked.items()):
        look = looks[run]
        for check, (value, low, high, limit, _) in _evidence_of(arrays).items():
            row = names.index(check) + (i - (len(checked) - 1) / 2) * apart
            fill = look.color if low > limit else "white"
            dot: dict[str, Any] = {"marker": look.marker, "color": look.color, "markerfacecolor": fill, "linestyle": ""}
            axes.plot([max(low, LEAST), max(high, LEAST)], [row, row], color=look.color, linewidth=0.8)
            axes.plot(max(value, LEAST), row, **dot)
            axes.plot([limit, limit], [names.index(check) - 0.4, names.index(check) + 0.4], color="black")
    axes.set_xscale("log")
    axes.set_xlim(LEAST * 0.8, 1.15)
    axes.set_xticks(TICKS)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("share of samples (%)")
    axes.set_title("(c) evidence of masking")


REGISTER = {"masking": draw}
