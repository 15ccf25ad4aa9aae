"""All methods side by side: accuracy lost after the best epoch, and other final numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.errors import RunFolderError
from overfit_lab.records.naming import UNKNOWN
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW, compare
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.draw import chosen_on, legend_above, spread_of
from overfit_lab.views.figures.series import check_some, split_name
from overfit_lab.views.figures.style import BLUE, GREY, PAGE, VERMILLION, new_figure, style

PANELS = (
    ("clean_final", "final clean\naccuracy (%)"),
    ("ece_adv_final", "final ECE,\nadversarial"),
    ("grad_norm_final", "final\ngradient norm"),
)

APART = 0.15
"""Half the distance in rows between a method's two points, so that their bars do not cover each other."""


def draw(runs: Sequence[Run]) -> Figure:
    """One line a method: robust test accuracy at the best and at the final epoch, and other final numbers.

    Methods are sorted by final robust accuracy; a regularizer's own weights are a line of their own. Bars are one
    standard deviation over seeds.

    Raises:
        RunFolderError: no records, or no finite accuracy under attack at the last epoch.
    """
    check_some(runs, "methods")
    table = compare(runs).dropna(subset=["robust_final"])
    if table.empty:
        listed = ", ".join(run.name for run in runs[:3])
        raise RunFolderError(f"methods: no finite robust accuracy at the last epoch of {listed}")
    table = table.sort_values("robust_final", kind="stable").reset_index(drop=True)
    table["others"] = [sorted(set(table["weights"]) - {RAW})] * len(table)
    names = [row_title(row) for _, row in table.iterrows()]
    names = [f"{name} ({run})" if name == UNKNOWN else name for name, run in zip(names, table["run"], strict=True)]
    columns = [(column, title) for column, title in PANELS if column in table and table[column].notna().any()]
    rows = np.arange(len(table))
    with style():
        note = "best: the epoch of the highest robust accuracy on " + chosen_on(table)
        if "robust_final_std" in table and table["robust_final_std"].notna().any():
            note += "; bars: one standard deviation over seeds"
        figure = new_figure(PAGE, 0.17 * len(table) + 1.5, caption(runs, shows="mean", extra=note))
        ratios = [2.2, *[1.0] * len(columns)]
        panels = figure.subplots(1, 1 + len(columns), sharey=True, squeeze=False, width_ratios=ratios)[0]
        first = panels[0]
        ends = table[["robust_final", "robust_best"]].to_numpy(float).T
        first.plot(ends, [rows - APART, rows + APART], color=GREY, linewidth=1, zorder=1)
        _points(first, table, "robust_final", rows - APART, VERMILLION, "o", label="final")
        _points(first, table, "robust_best", rows + APART, BLUE, "D", label="best", markerfacecolor="white")
        first.set_xlabel("robust test accuracy (%)")
        first.set_yticks(rows, names)
        first.set_ylim(-0.6, len(table) - 0.4)
        for axes, (column, title) in zip(panels[1:], columns, strict=True):
            _points(axes, table, column, rows, VERMILLION, "o")
            axes.set_xlabel(title)
            axes.tick_params(axis="y", length=0)
            if column != "clean_final":
                axes.set_xlim(left=0)
        legend_above(figure, *first.get_legend_handles_labels())
    return figure


def row_title(row: pd.Series) -> str:
    """A method by the names that it has in a configuration; "hard labels" where it is plain adversarial training.

    The second weights of a regularizer have its name alone; the raw ones of the same run are marked as raw.
    """
    objective, labels = split_name(str(row["labels"]))
    mode, *regularizers = labels.split(" + ")
    parts = [objective, "" if mode == "hard" else mode, *regularizers]
    title = " + ".join(part for part in parts if part) or "hard labels"
    keeps_others = str(row["weights"]) == RAW and bool(set(regularizers) & set(row["others"]))
    return f"{title} (raw weights)" if keeps_others else title


def _points(
    axes: Axes, table: pd.DataFrame, column: str, rows: np.ndarray, color: str, marker: str, **look: Any
) -> None:
    values, spread = table[column].to_numpy(float), spread_of(table, column)
    axes.errorbar(values, rows, xerr=spread, fmt=marker, color=color, elinewidth=0.7, **look)


REGISTER = {"methods": draw}
