"""The state of a run that is being written, as numbers and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from overfit_lab.probes.metrics.decays import decays_of
from overfit_lab.probes.metrics.phases import Phases, samples_of
from overfit_lab.records.best import INPUTS, WHAT, Best, after_robustness, best_of, choosing, judged
from overfit_lab.records.layout import IMPORTED
from overfit_lab.records.status import COMPLETE, DIVERGED, standing
from overfit_lab.records.writer import is_held
from overfit_lab.views.live.alarm import Alarm, Alert
from overfit_lab.views.live.following import Followed
from overfit_lab.views.live.numbers import Numbers, Series

SILENT = 60.0
"""Seconds without a record that are worth a word, or three times what an epoch takes where that is longer."""
RECENT = 10
"""Epochs whose duration the estimate of the time that is left is made from."""
OVER = (*COMPLETE, DIVERGED, "interrupted", "failed")
CURVES = (
    (
        ("robust test accuracy", "evaluation", "acc_adv", "test", "adversarial"),
        ("clean test accuracy", "evaluation", "acc_clean", "test", "clean"),
    ),
    (
        ("robust train accuracy", "evaluation", "acc_adv", "train", "adversarial"),
        ("clean train accuracy", "evaluation", "acc_clean", "train", "clean"),
    ),
    (
        ("gradient norm", "gradient-norm", "full", "train", "adversarial"),
        ("gradient norm (mini-batches)", "training", "grad_norm_minibatch", "train", ""),
    ),
    (("IIW (nats)", "iiw", "iiw", "train", "adversarial"), ("IIW, clean (nats)", "iiw", "iiw", "train", "clean")),
    (
        ("adversarial ECE", "calibration", "ece", "test", "adversarial"),
        ("clean ECE", "calibration", "ece", "test", "clean"),
    ),
)
"""What is drawn, title, probe, field, split and inputs: of each pair the first that is recorded."""


@dataclass(frozen=True)
class Curve:
    """A number over epochs under its title; accuracies are shares in [0, 1]."""

    title: str
    series: Series

    @property
    def is_share(self) -> bool:
        """Whether it is to be read in percent."""
        return "accuracy" in self.title


@dataclass(frozen=True)
class View:
    """One look at a run.

    Args:
        name: of the run folder, as it is: not yet safe to print.
        status: ``running``, ``completed``, ``interrupted``, ``failed``, ``stopped`` (run.json says running, nothing
            has been written for a while and no process here holds the folder), or ``not begun``.
        epoch: completed epochs.
        n_epochs: of the whole run; None where that is not known.
        silent: seconds since something was written; None where that is not long.
        seconds_left: estimate; None where there is none.
        lr: the last learning rate.
        stage: stationary or growth, and why.
        accuracies: now, by inputs and split.
        best: the best evaluation so far, a maximum over noise; None before the first evaluation.
        latest: the accuracy that chose it at the last evaluation; NaN before.
        judged: what accuracy the alarm looks at: ``robust`` or ``clean``.
        curves: what is recorded of ``CURVES``.
        decays: epochs after which the learning rate is lowered.
        alert: the alarm, where it was raised.
        phases: the last look's tests.
    """

    name: str
    status: str = "not begun"
    epoch: int = 0
    n_epochs: int | None = None
    silent: float | None = None
    seconds_left: float | None = None
    lr: float | None = None
    stage: str = ""
    accuracies: Mapping[tuple[str, str], float] = field(default_factory=dict)
    best: Best | None = None
    latest: float = float("nan")
    judged: str = "robust"
    curves: tuple[Curve, ...] = ()
    decays: tuple[float, ...] = ()
    alert: Alert | None = None
    phases: Phases | None = None

    @property
    def lost(self) -> float:
        """Accuracy lost since the best evaluation."""
        return self.best.value - self.latest if self.best else float("nan")

    @property
    def has_epochs(self) -> bool:
        """Whether there is an epoch to speak of: imported weights and what has not begun have none."""
        return self.status not in ("not begun", IMPORTED)

    @property
    def ended(self) -> bool:
        """Whether the run says so itself."""
        return self.status in OVER


def view_of(run: Followed, alarm: Alarm, time: float) -> View:
    """The view of a run after a look; the alarm is updated.

    Args:
        run: after its ``look``.
        alarm: the run's own.
        time: seconds, as the file system's times.
    """
    numbers = run.numbers
    robust = after_robustness(run.config, run.info)
    decays = decays_so_far(run.info, numbers)
    kind = look(alarm, numbers, decays, robust)
    best = best_so_far(numbers, robust)
    status, silent = _status(run, time)
    per_epoch = seconds_per_epoch(run)
    n_epochs = _n_epochs(run)
    left = None
    if status == "running" and per_epoch is not None and n_epochs is not None:
        left = max(0.0, per_epoch * (n_epochs - numbers.epoch) - max(0.0, time - run.changed))
    return View(
        name=run.name,
        status=status,
        epoch=numbers.epoch if status != IMPORTED else 0,
        n_epochs=n_epochs,
        silent=silent,
        seconds_left=left,
        lr=numbers.series("training", "lr").last,
        stage=stage_of(numbers, decays),
        accuracies=_accuracies(numbers),
        best=best,
        latest=float(accuracy(numbers, best.metric, best.split).values[-1]) if best else float("nan"),
        judged=kind,
        curves=curves_of(numbers),
        decays=tuple(decays),
        alert=alarm.alert,
        phases=alarm.phases,
    )


def accuracy(numbers: Numbers, metric: str, split: str) -> Series:
    """One accuracy of the evaluations in training."""
    return numbers.series("evaluation", metric, split, INPUTS[metric])


def look(alarm: Alarm, numbers: Numbers, decays: list[float], robust: bool) -> str:
    """Update the alarm with the accuracy that a diagnosis judges; return ``robust`` or ``clean``."""
    metric, split = judged(robust, lambda *place: len(accuracy(numbers, *place)) > 0) or ("acc_adv", "test")
    train, test = accuracy(numbers, metric, "train"), accuracy(numbers, metric, split)
    clean = accuracy(numbers, "acc_clean", split)
    on_train, on_clean = (at(other, test.epochs) for other in (train, clean))
    n_test = samples_of(test.values, test.stderr)
    alarm.look(test.epochs, on_train, test.values, decays, on_clean if metric == "acc_adv" else None, n_test)
    return WHAT[INPUTS[metric]]


def at(series: Series, epochs: np.ndarray) -> np.ndarray:
    """The values of a series at some epochs (n,), NaN where it has none."""
    there = dict(zip(series.epochs.tolist(), series.values.tolist(), strict=True))
    return np.array([there.get(epoch, float("nan")) for epoch in epochs.tolist()])


def decays_so_far(info: Mapping[str, Any], numbers: Numbers) -> list[float]:
    """Epochs after which the learning rate is lowered: past ones by the records, those to come as run.json plans."""
    planned = info.get("decay_epochs")
    plan = sorted(float(e) for e in planned if isinstance(e, int | float)) if isinstance(planned, list) else []
    lr = numbers.series("training", "lr")
    last = lr.epochs[-1] if len(lr) else 0
    return [*decays_of(lr.epochs, lr.values), *(epoch for epoch in plan if epoch >= last)]


def stage_of(numbers: Numbers, decays: list[float]) -> str:
    """Before the first decay a run is stationary, after it robust overfitting can grow (SGLR, Fig. 1)."""
    lr = numbers.series("training", "lr")
    if not len(lr):
        return ""
    if decays:
        first = min(decays)
        if numbers.epoch <= first:
            return f"stationary, first decay after epoch {first:g}"
        return f"growth, since the first decay after epoch {first:g}"
    if np.allclose(lr.values, lr.values[0], rtol=1e-6, atol=0):
        return "stationary, no decay so far"
    return "smooth schedule, no decay to tell the stages apart"


def best_so_far(numbers: Numbers, robust: bool) -> Best | None:
    """The best evaluation so far, by the rules of :mod:`overfit_lab.records.best`."""
    chosen = choosing(robust, lambda *place: len(accuracy(numbers, *place)) > 0)
    series = accuracy(numbers, *chosen) if chosen else None
    return best_of(series.epochs, series.values, *chosen) if chosen and series else None


def curves_of(numbers: Numbers) -> tuple[Curve, ...]:
    """The recorded curves, in order."""
    curves = ([Curve(title, numbers.series(*source)) for title, *source in pair] for pair in CURVES)
    recorded = (next((curve for curve in pair if len(curve.series)), None) for pair in curves)
    return tuple(curve for curve in recorded if curve is not None)


def seconds_per_epoch(run: Followed) -> float | None:
    """Mean over the ``RECENT`` last epochs of what training, evaluation and probes took; else as seen from outside."""
    parts = [run.numbers.series("training", f"seconds_{name}") for name in ("training", "evaluation", "probing")]
    if not len(parts[0]):
        return run.pace.seconds
    recent = parts[0].epochs[-RECENT:]
    return float(sum(part.values[np.isin(part.epochs, recent)].sum() for part in parts) / len(recent))


def _accuracies(numbers: Numbers) -> dict[tuple[str, str], float]:
    """The last of each accuracy that is recorded, by inputs and split."""
    return {
        (inputs, split): last
        for metric, inputs in INPUTS.items()
        for split in ("train", "val", "test")
        if (last := accuracy(numbers, metric, split).last) is not None
    }


def _n_epochs(run: Followed) -> int | None:
    """Epochs of the run; None where they are not known, as of a monitor without a plan."""
    n = run.config.epochs
    return None if run.numbers.epoch > n or not run.config.knows("epochs") else n


def _status(run: Followed, time: float) -> tuple[str, float | None]:
    """The status, and the seconds without a record if they are many."""
    status = standing(run.folder, run.info)
    silent = max(0.0, time - run.changed)
    if status != "running" or silent < max(SILENT, 3 * (seconds_per_epoch(run) or 0.0)):
        return status, None
    return ("running" if is_held(run.folder) else "stopped"), silent
