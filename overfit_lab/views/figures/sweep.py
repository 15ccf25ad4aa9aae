"""A sweep: robust accuracy at the best and the final epoch, and the loss between, over the swept setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.config import parse_fraction
from overfit_lab.errors import RunFolderError
from overfit_lab.records import identity
from overfit_lab.records.experiments import differences, experiments, unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW, compare
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.draw import chosen_on, legend_above, note_no_reading, spread_of
from overfit_lab.views.figures.series import check_some
from overfit_lab.views.figures.style import GREY, LINES, PAGE, Look, new_figure, style

PANELS = (("best", "best robust\ntest accuracy (%)"), ("final", "final robust\ntest accuracy (%)"), ("diff", ""))
MOST_LINES = 7
LOG_FROM = 30.0
"""Ratio of the largest to the smallest value from which on an axis of positive values is logarithmic."""
APART = 0.012
"""Distance between lines at one value, as a share of the axis, so that their bars do not cover each other."""


@dataclass(frozen=True)
class Swept:
    """Swept settings: the key along the axis, whether its values are numbers, and the keys that tell lines apart."""

    key: str
    numbers: bool
    others: tuple[str, ...]


def draw(runs: Sequence[Run]) -> Figure:
    """One line for each setting of what is not on the axis; points are means over seeds, bars one standard deviation.

    The key with the most numeric values is on the axis; where none is numeric, the key with the most values. Settings
    that the key on the axis determines (a step size that goes with eps) tell no lines apart. Accuracy is clean where
    nothing was evaluated under attack.

    Raises:
        RunFolderError: no records; the runs differ in nothing, or in so much that there would be too many lines.
    """
    check_some(runs, "sweep")
    parts = experiments(unrepeated(runs)[0])
    swept = swept_settings(parts)
    table = measured(parts, swept)
    kind = "robust" if table["robust_final"].notna().any() else "clean"
    lines = list(dict.fromkeys(table["line"]))
    if len(lines) > MOST_LINES:
        raise RunFolderError(
            f"sweep: {len(lines)} lines over {swept.key} ({', '.join(swept.others)} differ); give fewer"
        )
    places = positions(table, swept)
    gap = 0.0 if _is_log(places) else APART * (max(places.values()) - min(places.values()))
    with style():
        spread = table[f"{kind}_final_std"].notna().any()
        note = "best: the epoch of the highest accuracy on " + chosen_on(table)
        note += "; bars: one standard deviation over seeds" if spread else ""
        figure = new_figure(PAGE, 2.5, caption(runs, shows="mean", extra=note))
        panels = figure.subplots(1, 3)
        panels[1].sharey(panels[0])
        for axes, (end, title) in zip(panels, PANELS, strict=True):
            for number, line in enumerate(lines):
                rows = table[table["line"] == line]
                xs = [places[x] + (number - (len(lines) - 1) / 2) * gap for x in rows["x"]]
                _line(axes, xs, rows, f"{kind}_{end}", LINES[number], line, joined=swept.numbers)
            if table[f"{kind}_{end}"].isna().all():
                note_no_reading(axes)
            _axis(axes, swept, places)
            axes.set_ylabel(title.replace("robust", kind) if end != "diff" else f"{kind} best − final (points)")
        panels[2].axhline(0, color=GREY, linewidth=0.6, zorder=0.5)
        if lines != [""]:
            legend_above(figure, *panels[0].get_legend_handles_labels())
    return figure


def swept_settings(parts: Sequence[Sequence[Run]]) -> Swept:
    """The setting for the axis, and those that tell lines apart.

    Raises:
        RunFolderError: nothing differs.
    """
    firsts = [part[0] for part in parts]
    differing = differences(firsts)
    if not differing:
        raise RunFolderError("sweep: the runs differ in nothing but the seed; give those of a sweep")
    numeric = {key: values for key, values in differing.items() if all(_number(value) is not None for value in values)}
    pool = numeric or differing
    key = max(pool, key=lambda name: len(pool[name]))  # the first of equal ones
    configs = [identity.experiment(run.config) for run in firsts]
    others = []
    for other in differing:
        pairs = {(str(s.get(key)), str(s.get(other))) for s in configs}
        if other != key and len(pairs) > len({x for x, _ in pairs}):
            others.append(other)
    return Swept(key, bool(numeric), tuple(others))


def measured(parts: Sequence[Sequence[Run]], swept: Swept) -> pd.DataFrame:
    """One row for each experiment: x, line, and means and standard deviations over seeds, sorted by x in each line."""
    rows = []
    for part in parts:
        table = compare(part)
        row = table[table["weights"] == RAW].iloc[0].to_dict()
        config = identity.experiment(part[0].config)
        value = config.get(swept.key)
        row["x"] = _number(value) if swept.numbers else str(value)
        row["line"] = ", ".join(_words(key, config.get(key)) for key in swept.others)
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.sort_values("x", kind="stable") if swept.numbers else frame


def positions(table: pd.DataFrame, swept: Swept) -> dict[Any, float]:
    """Position of each value on the axis: numbers at themselves, words in order."""
    values = list(dict.fromkeys(table["x"]))
    return {value: float(value) if swept.numbers else float(i) for i, value in enumerate(values)}


def _number(value: Any) -> float | None:
    """A setting as a number; None for anything else. Pixel distances are written as fractions."""
    try:
        number = parse_fraction(value)
    except ValueError:
        return None
    return float(number) if isinstance(number, int | float) and not isinstance(number, bool) else None


def _words(key: str, value: Any) -> str:
    group, _, short = key.rpartition(".")
    spoken = group.rpartition(".")[2] if short == "name" and group else short
    return (
        f"{spoken.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{spoken.replace('_', ' ')} {value}"
    )


def _is_log(places: Mapping[Any, float]) -> bool:
    low, high = min(places.values()), max(places.values())
    return low > 0 and high / low >= LOG_FROM


def _line(
    axes: Axes, xs: list[float], rows: pd.DataFrame, column: str, look: Look, label: str, *, joined: bool
) -> None:
    line: dict[str, Any] = {**look.line(), "marker": look.marker, "linewidth": 1.0, "elinewidth": 0.6}
    line |= {} if joined else {"linestyle": ""}
    axes.errorbar(xs, rows[column].to_numpy(float), yerr=spread_of(rows, column), label=label or None, **line)


def _axis(axes: Axes, swept: Swept, places: Mapping[Any, float]) -> None:
    axes.set_xlabel(swept.key.removesuffix(".name"))
    if swept.numbers and _is_log(places):
        axes.set_xscale("log")
    long = not swept.numbers and sum(len(str(value)) for value in places) > 24
    texts = [f"{value:g}" if swept.numbers else str(value) for value in places]
    axes.set_xticks(list(places.values()), texts, rotation=30 if long else 0, ha="right" if long else "center")
    axes.minorticks_off()


REGISTER = {"sweep": draw}
