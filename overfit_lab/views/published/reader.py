"""Reads the published numbers, and finds contradictions between them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

CITATION = "Yu et al., CVPR 2024, arXiv 2403.09101 (SGLR)"


@dataclass(frozen=True)
class Printed:
    """One line of a published table: a quantity of a method at its best and its final checkpoint.

    Args:
        table: the paper's name for it: ``2``, ``B.4``.
        dataset: ``cifar10`` or ``cifar100``.
        architecture: ``resnet18`` or ``wide_resnet34_10``.
        method: as :func:`overfit_lab.records.naming.method_key` gives it.
        metric: ``natural``, ``robust`` (percent) or ``ece`` (fraction).
        attack: ``none``, ``pgd-20``, ``autoattack``; for ECE ``pgd`` or ``square``.
        best: at the best checkpoint, which the paper chooses on test.
        final: at the last.
        diff: as printed, which need not be best - final.
    """

    table: str
    dataset: str
    architecture: str
    method: str
    metric: str
    attack: str
    best: float
    final: float
    diff: float

    @property
    def digits(self) -> int:
        """Decimals printed: one of percents, two of fractions."""
        return 2 if self.metric == "ece" else 1

    @property
    def difference(self) -> float:
        """Best - final of the printed numbers."""
        return round(self.best - self.final, self.digits)

    def contradiction(self) -> str:
        """What is wrong with the printed difference, in words; "" where it is best - final.

        Best, final and diff are rounded each by itself, so one unit of the last decimal proves nothing.
        """
        off = round(abs(self.diff - self.difference), self.digits)
        if off == 0:
            return ""
        d = self.digits
        numbers = f"printed {self.diff:+.{d}f}, but {self.best:.{d}f} - {self.final:.{d}f} = {self.difference:+.{d}f}"
        can = "which rounding can account for" if off <= 10**-d else "which is more than rounding can account for"
        return f"{numbers}, {can}"


@cache
def printed() -> tuple[Printed, ...]:
    """Every line of Tabs. 2, 3, B.1, B.3 and B.4, in the order printed."""
    return tuple(
        Printed(
            row["table"],
            row["dataset"],
            row["architecture"],
            row["method"],
            row["metric"],
            row["attack"],
            best=float(row["best"]),
            final=float(row["final"]),
            diff=float(row["diff"]),
        )
        for row in _rows("tables.csv")
    )


def lines_of(dataset: str, architecture: str, method: str, metric: str, attack: str) -> list[Printed]:
    """The lines that print one quantity; several where tables repeat it, none where the paper has none."""
    wanted = (dataset, architecture, method, metric, attack)
    return [p for p in printed() if (p.dataset, p.architecture, p.method, p.metric, p.attack) == wanted]


@cache
def ablation() -> Mapping[tuple[float, float], tuple[float, float]]:
    """Tab. 4: (r, temperature) to natural and robust accuracy in percent."""
    return {
        (float(row["r"]), float(row["temperature"])): (float(row["natural"]), float(row["robust"]))
        for row in _rows("table4.csv")
    }


@cache
def noise_errors() -> Mapping[tuple[str, float], float]:
    """Tab. B.2: (label mode, noise rate) to the test error in percent."""
    return {(row["labels"], float(row["noise_rate"])): float(row["test_error"]) for row in _rows("tableB2.csv")}


def _rows(name: str) -> list[dict[str, str]]:
    text = files("overfit_lab.views.published").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
