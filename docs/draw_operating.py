"""How often the judge of overfitting is right: simulated runs and published logs, as numbers, page and picture.

    python docs/draw_operating.py             # page and picture from docs/operating-characteristics.json
    python docs/draw_operating.py --check     # whether the page is that
    python docs/draw_operating.py --run       # the numbers anew: about half an hour on one core

The published logs are those of Rice, Wong and Kolter (2020; repository locuslab/robust_overfitting) as a table with
columns run, epoch, lr, train_robust_acc, test_robust_acc and test_acc; where the table is not there their numbers stay.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from overfit_lab.probes.metrics.decays import decays_of
from overfit_lab.probes.metrics.drop import drop_of
from overfit_lab.probes.metrics.phases import phases, verdict_of

HERE = Path(__file__).parent
NUMBERS, PAGE = HERE / "operating-characteristics.json", HERE / "operating-characteristics.md"
PICTURE = HERE / "images" / "operating-characteristics.png"
LOGS = HERE.parents[1] / "shared" / "published-logs" / "rice20-half.csv.gz"
BEGIN, END = "<!-- from operating-characteristics.json -->", "<!-- to here -->"

KINDS = {
    "independent": "a draw of 1,000 test samples at every evaluation",
    "correlated": "1.2 points, correlation .9 from one evaluation to the next",
    "stepped": "3.3 points before the decay and .7 after it, correlation .3",
    "bad epochs": ".7 points; each evaluation with chance .04 3 to 15 points too low",
}
NULLS = {
    "correlated .5": ".8 points, correlation .5",
    "drift": ".6 points and a slow wave of .3 points up and down, half a period to two periods a run",
}
DROPS = (0.0, 0.01, 0.03, 0.05, 0.10, 0.15)
COUNTS = (10, 25, 50, 100, 200, 500)
N_RUNS = {10: 200, 25: 200, 50: 200, 100: 200, 200: 200, 500: 100}
N_NULLS = {**N_RUNS, 10: 1000, 25: 1000, 50: 1000}
"""Runs by evaluations; of a drop of 0 more, since false alarms are few."""


def curve(n: int, drop: float, *, late: bool) -> np.ndarray:
    """Test accuracy without noise (n,): rises, and 6 points at a decay; peaks after it, or before it, and falls."""
    time = np.arange(1, n + 1) / n
    peak = 0.55 if late else 0.2
    rise = 0.5 - 0.25 * np.exp(-time / 0.06) - 0.06 * (time <= 0.5) * late
    return rise - drop * np.clip((time - peak) / (1 - peak), 0, 1)


def noisy(kind: str, accuracy: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """An accuracy with noise of a kind (n,)."""
    n = len(accuracy)
    time = np.arange(1, n + 1) / n
    if kind == "independent":
        return stream.binomial(1000, accuracy) / 1000
    if kind == "bad epochs":
        bad = stream.random(n) < 0.04
        return accuracy + 0.007 * stream.standard_normal(n) - bad * stream.uniform(0.03, 0.15, n)
    if kind == "drift":
        wave = np.sin(2 * np.pi * (stream.uniform() + time * stream.uniform(0.5, 2)))
        return accuracy + 0.006 * stream.standard_normal(n) + 0.003 * wave
    size, correlation = {"correlated": (0.012, 0.9), "correlated .5": (0.008, 0.5), "stepped": (1.0, 0.3)}[kind]
    noise = stream.standard_normal(n)
    for i in range(1, n):
        noise[i] = correlation * noise[i - 1] + np.sqrt(1 - correlation**2) * noise[i]
    return accuracy + size * noise * (np.where(time <= 0.5, 0.033, 0.007) if kind == "stepped" else 1)


def cell(kind: str, n: int, drop: float) -> dict[str, float]:
    """Share of runs called overfitting, share whose interval holds the true drop, median error and width of it.

    Half of the runs peak after the decay, half before it. The gap to train accuracy widens, so that the drop decides.
    """
    rows = []
    for i in range((N_RUNS if drop else N_NULLS)[n]):
        stream = np.random.default_rng([i, n, round(1000 * drop), *kind.encode()])
        late = i % 2 == 0
        true = curve(n, drop, late=late)
        found = drop_of(np.arange(1.0, n + 1), noisy(kind, true, stream), [n // 2 - 1] if late else [])
        truth = true.max() - true[-1]
        holds = found.low - 1e-4 <= truth <= found.high + 1e-4
        rows.append(
            (verdict_of(found, None) == "robust overfitting", holds, found.value - truth, found.high - found.low)
        )
    table = np.array(rows, dtype=float)
    yes, holds = table[:, :2].mean(axis=0)
    error, width = np.median(table[:, 2:], axis=0)
    return {"yes": yes, "covers": holds, "error": round(error, 5), "width": round(width, 5)}


def published(with_rate: bool) -> dict[str, dict[str, float | str]]:
    """What is said of each published log, beside a rule that knows nothing of it (see :func:`truth_of`)."""
    rows = {}
    for name, log in pd.read_csv(LOGS).groupby("run"):
        epochs, train, test = (log[key].to_numpy(float) for key in ("epoch", "train_robust_acc", "test_robust_acc"))
        decays = decays_of(epochs, log["lr"].to_numpy(float)) if with_rate else []
        found = phases(epochs, train, test, decays=decays, clean=log["test_acc"].to_numpy(float))
        raw, truth = truth_of(train, test)
        assert found.drop is not None
        ends = {"value": found.drop.value, "low": found.drop.low, "high": found.drop.high}
        rows[str(name)] = {
            "epochs": len(log),
            "raw": round(raw, 5),
            "truth": truth,
            "verdict": found.verdict,
            **{key: round(value, 5) for key, value in ends.items()},
        }
    return rows


def truth_of(train: np.ndarray, test: np.ndarray) -> tuple[float, str]:
    """Best mean of five test accuracies less the last one, and whether that is overfitting.

    ``overfits``: 2 points or more, with a gap to train accuracy that grew by 3 since; ``does not``: below 1 point.
    """
    five = np.full(5, 0.2)
    level, gap = np.convolve(test, five, "valid"), np.convolve(train - test, five, "valid")
    best = int(level.argmax())
    drop = float(level[best] - level[-1])
    if drop >= 0.02 and gap[-1] - gap[best] >= 0.03:
        return drop, "overfits"
    return drop, "does not" if drop < 0.01 else "between"


def run() -> None:
    """The numbers anew, written after each cell so that they can be gone on with."""
    numbers = json.loads(NUMBERS.read_text()) if NUMBERS.is_file() else {"cells": {}, "logs": {}}
    if LOGS.is_file():
        numbers["logs"] = {"rate": published(True), "no rate": published(False)}
    wanted = [(kind, n, drop) for n in COUNTS for kind in KINDS for drop in DROPS]
    wanted += [(kind, n, 0.0) for n in COUNTS for kind in NULLS]
    for kind, n, drop in wanted:
        name = f"{kind}/{n}/{drop:g}"
        if name not in numbers["cells"]:
            numbers["cells"][name] = cell(kind, n, drop)
            NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")
            print(name, numbers["cells"][name], flush=True)


def render() -> str:
    """The page with its tables."""
    numbers = json.loads(NUMBERS.read_text())
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{_cells(numbers['cells'])}\n{_logs(numbers['logs'])}\n{END}{tail}"


def counted(cells: dict[str, dict[str, float]]) -> list[int]:
    """Numbers of evaluations of which every cell was run."""
    names = [(kind, drop) for kind in KINDS for drop in DROPS] + [(kind, 0.0) for kind in NULLS]
    return [n for n in COUNTS if all(f"{kind}/{n}/{drop:g}" in cells for kind, drop in names)]


def _cells(cells: dict[str, dict[str, float]]) -> str:
    lines, counts = [], counted(cells)
    for kind, meaning in KINDS.items():
        lines += [f"### Noise: {kind}", "", f"{meaning[:1].upper()}{meaning[1:]}.", ""]
        lines += ["| evaluations | " + " | ".join(f"drop {100 * drop:g}" for drop in DROPS) + " |"]
        lines += ["| ---: |" + " --- |" * len(DROPS)]
        for n in counts:
            row = [cells[f"{kind}/{n}/{drop:g}"] for drop in DROPS]
            entries = [f"{100 * c['yes']:.0f}%; {100 * c['covers']:.0f}%; {100 * c['width']:.1f}" for c in row]
            lines.append(f"| {n} | " + " | ".join(entries) + " |")
        lines.append("")
    lines += ["### False alarms under other noise", "", "| noise | " + " | ".join(map(str, counts)) + " |"]
    lines += ["| --- |" + " ---: |" * len(counts)]
    for kind, meaning in NULLS.items():
        row = [f"{100 * cells[f'{kind}/{n}/0']['yes']:.1f}%" for n in counts]
        lines.append(f"| {meaning} | " + " | ".join(row) + " |")
    covers = min(cells[f"{kind}/{n}/{drop:g}"]["covers"] for kind in KINDS for n in counts for drop in DROPS)
    alarms = max(value["yes"] for name, value in cells.items() if name.endswith("/0"))
    lines += [
        "",
        f"Least coverage under the four kinds of noise: {100 * covers:.1f}%. Most false alarms: {100 * alarms:.1f}%.",
        "",
    ]
    return "\n".join(lines)


def _logs(logs: dict[str, dict[str, dict[str, float | str]]]) -> str:
    lines = ["### Published logs", ""]
    for key, title in (("rate", "with the recorded learning rate"), ("no rate", "without it")):
        rows = logs[key].values()
        lines += [f"{len(logs[key])} logs, {title}:", "", "| by the rule | logs | overfitting | none | cannot tell |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        for truth in ("overfits", "between", "does not"):
            verdicts = [row["verdict"] for row in rows if row["truth"] == truth]
            counts = [verdicts.count(v) for v in ("robust overfitting", "none", "not enough evidence")]
            counts[0] += verdicts.count("catastrophic overfitting")
            lines.append(f"| {truth} | {len(verdicts)} | " + " | ".join(map(str, counts)) + " |")
        lines.append("")
    lines += ["| log | epochs | best less last, means of 5 | by the rule | said | drop, 95% interval |"]
    lines += ["| --- | ---: | ---: | --- | --- | --- |"]
    for name, row in logs["rate"].items():
        said = {"robust overfitting": "overfits", "not enough evidence": "cannot tell"}.get(
            str(row["verdict"]), row["verdict"]
        )
        value, low, high = (100 * float(row[key]) for key in ("value", "low", "high"))
        lines.append(
            f"| {name} | {row['epochs']} | {100 * float(row['raw']):.1f} | {row['truth']} | {said} | "
            f"{value:.1f} ({low:.1f} to {high:.1f}) |"
        )
    return "\n".join(lines) + "\n"


def draw() -> None:
    """Share of runs called overfitting over the true drop, a panel a kind of noise."""
    import matplotlib.pyplot as plt

    from overfit_lab.views.figures.style import COLUMN, style

    cells = json.loads(NUMBERS.read_text())["cells"]
    counts = counted(cells)
    with style():
        figure, grid = plt.subplots(2, 2, figsize=(2 * COLUMN, 4.6), sharex=True, sharey=True, layout="constrained")
        colours = plt.get_cmap("cividis")(np.linspace(0, 0.9, len(counts)))
        for axes, kind in zip(grid.ravel(), KINDS, strict=True):
            for n, colour, marker in zip(counts, colours, "osD^vP", strict=False):
                shares = [100 * cells[f"{kind}/{n}/{drop:g}"]["yes"] for drop in DROPS]
                axes.plot([100 * d for d in DROPS], shares, marker=marker, color=colour, markersize=4, label=f"{n}")
            axes.axhline(5, color="black", linewidth=0.7, linestyle=(0, (2, 2)))
            axes.set_title(f"noise: {kind}", loc="left")
        for axes in grid[:, 0]:
            axes.set_ylabel("runs called overfitting (%)")
        for axes in grid[1]:
            axes.set_xlabel("true drop of test accuracy (points)")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(counts), title="evaluations; dashed: 5%")
        figure.savefig(PICTURE, dpi=150)


def main() -> None:
    """Run, check or render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="simulate anew what is missing in the numbers")
    parser.add_argument("--check", action="store_true", help="say whether the page is that of the numbers")
    arguments = parser.parse_args()
    if arguments.run:
        run()
    if arguments.check:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == render() else "run `python docs/draw_operating.py`")
    PAGE.write_text(render(), encoding="utf-8")
    draw()


if __name__ == "__main__":
    main()
