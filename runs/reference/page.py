"""Write docs/reference-runs.md from page.md.j2 and the committed records: `python runs/reference/page.py`.

Whatever the page says in numbers is read here, so nothing on it can part from the records. A name such as
``cifar10-small-hard`` stands for its seeds, ``studies/digits-eps/eps0.1`` for those of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import table
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from overfit_lab.config.catalog import TABLES
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import best_epoch, compare, final_epoch
from overfit_lab.views.tables.as_text import as_markdown, number
from overfit_lab.views.tables.compare import format_table
from overfit_lab.views.tables.options import TableOptions

HERE = Path(__file__).resolve().parent
TEMPLATE = "page.md.j2"
PAGE = HERE.parents[1] / "docs" / "reference-runs.md"
MODES = ("hard", "smooth", "sglr")
PERCENT = ("acc_adv", "acc_clean", "acc_noisy")


@cache
def seeds(name: str) -> tuple[Run, ...]:
    """The runs of a name, one a seed."""
    found = tuple(Run.open(path) for path in sorted(HERE.glob(f"{name}-seed[0-9]")))
    if not found:
        raise LookupError(f"no reference run {name}-seed*")
    return found


@cache
def summary(name: str) -> pd.Series:
    """Means over seeds, and their standard deviations."""
    rows = compare(seeds(name))
    return rows[rows["weights"] == "raw"].iloc[0]


def final(name: str, column: str, digits: int = 1) -> str:
    """Mean ± standard deviation over seeds of a column of the comparison, such as ``robust_diff``."""
    return f"{mean(name, column, digits)} ± {summary(name)[f'{column}_std']:.{digits}f}"


def mean(name: str, column: str, digits: int = 1) -> str:
    """The mean alone."""
    return number(float(summary(name)[column]), digits)


def series(name: str, what: str) -> pd.Series:
    """Mean over seeds at each epoch; ``what`` is probe, field, split and inputs, accuracies in percent."""
    return pd.concat([series_of(run, what) for run in seeds(name)], axis=1, join="inner").mean(axis=1)


def at(name: str, what: str, epoch: int, digits: int = 2, scale: float = 1.0) -> str:
    """A mean over seeds at an epoch; -1 is the last."""
    values = series(name, what)
    value = values.iloc[-1] if epoch == -1 else values.loc[epoch]
    return number(scale * float(value), digits)


def each(name: str, what: str, epoch: int, digits: int = 1, scale: float = 1.0) -> str:
    """Mean ± standard deviation over seeds at an epoch; -1 is the last."""
    curves = [scale * series_of(run, what) for run in seeds(name)]
    values = np.array([curve.iloc[-1] if epoch == -1 else curve.loc[epoch] for curve in curves])
    return f"{number(values.mean(), digits)} ± {values.std(ddof=1):.{digits}f}"


def series_of(run: Run, what: str) -> pd.Series:
    """One run's values by epoch, accuracies in percent."""
    probe, field, split, inputs = what.split()
    values = run.series(probe, field, split, None if inputs == "-" else inputs).set_index("epoch")["value"]
    return 100 * values if field.partition("/")[0] in PERCENT else values


def most(name: str, what: str, digits: int = 2, scale: float = 1.0) -> str:
    """The largest mean over seeds of all epochs."""
    return number(scale * float(series(name, what).max()), digits)


def n_seeds(name: str) -> int:
    """How many seeds there are."""
    return len(seeds(name))


def minutes(*names: str) -> str:
    """Wall times of runs: from the shortest to the longest."""
    found = [float(run.info["wall_seconds"]) for name in names for run in seeds(name)]
    low, high = min(found), max(found)
    if high < 120:
        return f"{low:.0f} to {high:.0f} s"
    return f"{low / 60:.0f} to {high / 60:.0f} min"


def made(*names: str) -> str:
    """The days on which runs were made."""
    return ", ".join(sorted({str(run.info["started"])[:10] for name in names for run in seeds(name)}))


def comparison(*names: str) -> str:
    """The table of `overfit-lab compare` of several names."""
    rows = pd.concat([compare(seeds(name)) for name in names], ignore_index=True)
    rows = rows[rows["weights"] == "raw"].drop(columns=["n_seeds", "status", "noise", "chosen_on", "clean_diff"])
    return format_table(rows.drop(columns="clean_diff_std", errors="ignore"), "markdown").rstrip()


def paper_table(kind: str, *names: str, published: bool = False, notes: bool = False) -> str:
    """A table of `overfit-lab table`: its rows, and its notes on request."""
    runs = [run for name in names for run in seeds(name)]
    text = as_markdown(TABLES[kind](runs, TableOptions(published=published)))
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    below = [line for line in lines if line.startswith("- ")] if notes else []
    return "\n".join([*rows, *([""] if below else []), *below])


def grid(first: Sequence[object], second: Sequence[object], cell: str) -> list[list[str]]:
    """Final robust accuracy and loss in a table of two constants; ``cell`` is the name with both put in."""
    return [
        [f"{mean(name, 'robust_final')} / {final(name, 'robust_diff')}" for name in (cell.format(a, b) for b in second)]
        for a in first
    ]


def triple(name: str, field: str, inputs: str) -> str:
    """Best / final / diff of an accuracy on test in percent, each with its own best epoch, with the spread of diff."""
    curves = [series_of(run, f"evaluation {field} test {inputs}") for run in seeds(name)]
    best, last = (np.array(values) for values in zip(*((c.max(), c.iloc[-1]) for c in curves), strict=True))
    return f"{best.mean():.1f} / {last.mean():.1f} / {(best - last).mean():.1f} ± {(best - last).std(ddof=1):.1f}"


def gap(name: str, epoch: int) -> str:
    """Robust train minus robust test accuracy at an epoch, in points."""
    train, test = (series(name, f"evaluation acc_adv {split} adversarial") for split in ("train", "test"))
    return f"{train.loc[epoch] - test.loc[epoch]:.0f}"


def factor(name: str, what: str, epoch: int) -> str:
    """The largest over the smallest of the seeds' values at an epoch."""
    values = [series_of(run, what).loc[epoch] for run in seeds(name)]
    return f"{max(values) / min(values):.1f}"


def right(name: str) -> str:
    """Percentage of training labels that are the true ones, mean over seeds."""
    shares = [1 - run.info["data"].get("n_changed", 0) / run.info["data"]["sizes"]["train"] for run in seeds(name)]
    return f"{100 * np.mean(shares):.0f}"


def untouched(name: str) -> str:
    """Percentage of training labels that noise left alone, mean over seeds."""
    data = [run.info["data"] for run in seeds(name)]
    return f"{100 * np.mean([1 - part.get('n_resampled', 0) / part['sizes']['train'] for part in data]):.0f}"


def noise_minutes() -> str:
    """Wall times of the runs under label noise on CIFAR-10."""
    return minutes(*(f"cifar10-noise{rate}-{mode}" for rate in ("00", "20", "40", "60") for mode in MODES))


def calibrated(name: str, field: str, inputs: str, when: str) -> str:
    """Mean over seeds of a calibration error at each seed's best epoch, or at the last."""
    found = []
    for run in seeds(name):
        epoch = best_epoch(run).epoch if when == "best" else final_epoch(run)
        found.append(run.value_at(epoch, "calibration", field, "test", inputs))
    return f"{np.mean(found):.2f}"


def attacked(name: str, when: str, spread: bool = True) -> str:
    """Mean over seeds of the accuracy under AutoAttack in percent: best, final or diff."""
    epochs = ((best_epoch(run).epoch, final_epoch(run)) for run in seeds(name))
    pairs = np.array([
        [run.value_at(epoch, "robustness", "acc_adv/autoattack", "test", "adversarial") for epoch in both]
        for run, both in zip(seeds(name), epochs, strict=True)
    ])  # fmt: skip
    best, last = 100 * pairs.T
    values = {"best": best, "final": last, "diff": best - last}[when]
    return number(values.mean(), 1) + (f" ± {values.std(ddof=1):.1f}" if spread else "")


READ = (
    *(gap, factor, right, untouched, noise_minutes, calibrated, attacked, triple, grid),
    *(final, mean, at, each, most, n_seeds, minutes, made, comparison, paper_table),
)


def render() -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.globals.update({function.__name__: function for function in READ})
    environment.globals["methods_table"] = table.attacked
    return environment.get_template(TEMPLATE).render()


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(PAGE)
