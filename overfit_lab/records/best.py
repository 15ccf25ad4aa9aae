"""The best epoch of a run: which accuracy on which split chooses it, and which epoch that is.

The one answer for whoever asks: the checkpoint that training keeps, ``watch``, tables, figures, diagnosis and report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overfit_lab.config import RunConfig

INPUTS = {"acc_adv": "adversarial", "acc_clean": "clean"}
"""Accuracies that may choose, each with the inputs it is of; robust accuracy comes first."""
WHAT = {"adversarial": "robust", "clean": "clean"}
"""Inputs to what accuracy on them is called."""
SPLITS = {"auto": ("val", "test"), "val": ("val",), "test": ("test",)}
"""Which splits may choose the best epoch, in order."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far, by which metric on which split, and its value there."""

    epoch: int
    metric: str
    split: str
    value: float

    @property
    def chosen_on(self) -> str:
        """What chose it, in words: "acc_adv on val"."""
        return f"{self.metric} on {self.split}"

    @property
    def inputs(self) -> str:
        """Inputs that the metric is of: ``adversarial`` or ``clean``."""
        return INPUTS[self.metric]

    @property
    def what(self) -> str:
        """The accuracy that it is of: ``robust`` or ``clean``."""
        return WHAT[self.inputs]


def after_robustness(config: RunConfig, info: Mapping[str, Any]) -> bool:
    """Whether training is after robust accuracy: as run.json says, else by the objective's name in older folders."""
    robust = info.get("robust")
    return robust if isinstance(robust, bool) else config.objective.name != "standard"


def choosing(
    robust: bool, measured: Callable[[str, str], bool], splits: Sequence[str] = SPLITS["auto"]
) -> tuple[str, str] | None:
    """Metric and split that choose the best epoch; None where nothing that may choose was measured.

    Robust accuracy, wherever it was measured, before clean accuracy: past the onset clean accuracy goes on rising, so
    the best epoch by it says nothing of robustness. Then the validation split before test, where the best value is a
    maximum over test evaluations.

    Args:
        robust: whether training is after robust accuracy; clean accuracy alone may choose otherwise.
        measured: whether a metric is measured on a split.
        splits: that may choose, in order.
    """
    metrics = INPUTS if robust else ("acc_clean",)
    return next(((m, s) for m in metrics for s in splits if measured(m, s)), None)


def judged(robust: bool, measured: Callable[[str, str], bool]) -> tuple[str, str] | None:
    """Metric and split whose fall is called overfitting: as :func:`choosing`, but on val only where test has none."""
    return choosing(robust, measured, ("test",)) or choosing(robust, measured, ("val",))


def is_better(value: float | None, best: float | None) -> bool:
    """Whether a value beats the best before it: the first of equal ones stays, and no number never wins."""
    return value is not None and math.isfinite(value) and (best is None or value > best)


def best_of(epochs: Iterable[int], values: Iterable[float], metric: str, split: str) -> Best | None:
    """The best epoch of a series; None where no value is a number.

    Args:
        epochs: increasing.
        values: of the metric at each.
        metric: that chooses.
        split: that it was measured on.
    """
    best: Best | None = None
    for epoch, value in zip(epochs, values, strict=True):
        if is_better(value, best.value if best else None):
            best = Best(int(epoch), metric, split, float(value))
    return best
