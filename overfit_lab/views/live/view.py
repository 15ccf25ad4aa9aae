"""What there is to say about a run that is being written, as numbers and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from overfit_lab.probes.metrics.phases import Phases, decays_of
from overfit_lab.records.writer import is_held
from overfit_lab.views.live.alarm import Alarm, Alert
from overfit_lab.views.live.following import Followed, Numbers, Series

SILENT = 60.0
"""Seconds without a record that are worth a word, or three times what an epoch takes where that is longer."""
RECENT = 10
"""Epochs whose duration the estimate of the time that is left is made from."""
ENDED = ("completed", "interrupted", "failed")
ACCURACIES = {"adversarial": "acc_adv", "clean": "acc_clean"}
CURVES = (
    ("robust test accuracy", "evaluation", "acc_adv", "test", "adversarial"),
    ("robust train accuracy", "evaluation", "acc_adv", "train", "adversarial"),
    ("gradient norm", "gradient-norm", "full", "train", "adversarial"),
    ("IIW (nats)", "iiw", "iiw", "train", "adversarial"),
    ("adversarial ECE", "calibration", "ece", "test", "adversarial"),
)
"""Titles, and the probe, field, split and inputs of what is drawn where it is recorded."""
INSTEAD = {
    "robust test accuracy": ("clean test accuracy", "evaluation", "acc_clean", "test", "clean"),
    "robust train accuracy": ("clean train accuracy", "evaluation", "acc_clean", "train", "clean"),
    "gradient norm": ("gradient norm (mini-batches)", "training", "grad_norm_minibatch", "train", ""),
    "IIW (nats)": ("IIW, clean (nats)", "iiw", "iiw", "train", "clean"),
    "adversarial ECE": ("clean ECE", "calibration", "ece", "test", "clean"),
}
"""What is drawn where the former is not recorded."""


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
class Best:
    """The best evaluation so far, a maximum over noise: its epoch, and the accuracy there and now, shares in [0, 1]."""

    epoch: int
    value: float
    now: float
    split: str
    inputs: str

    @property
    def loss(self) -> float:
        """What was lost since."""
        return self.value - self.now


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
        best: see :class:`Best`; None before the first evaluation.
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
    curves: tuple[Curve, ...] = ()
    decays: tuple[float, ...] = ()
    alert: Alert | None = None
    phases: Phases | None = None

    @property
    def ended(self) -> bool:
        """Whether the run says so itself."""
        return self.status in ENDED


def view_of(run: Followed, alarm: Alarm, now: float) -> View:
    """What a run that has just been looked at amounts to; the alarm looks too.

    Args:
        run: after its ``look``.
        alarm: the run's own.
        now: seconds, as the file system's times.
    """
    numbers = run.numbers
    decays = decays_so_far(run.info, numbers)
    look(alarm, numbers, decays)
    status, silent = _status(run, now)
    per_epoch = seconds_per_epoch(run)
    n_epochs = _n_epochs(run)
    left = None
    if status == "running" and per_epoch is not None and n_epochs is not None:
        left = max(0.0, per_epoch * (n_epochs - numbers.epoch) - max(0.0, now - run.changed))
    return View(
        name=run.name,
        status=status,
        epoch=numbers.epoch,
        n_epochs=n_epochs,
        silent=silent,
        seconds_left=left,
        lr=numbers.series("training", "lr").last,
        stage=stage_of(numbers, decays),
        accuracies=_accuracies(numbers),
        best=best_so_far(numbers),
        curves=curves_of(numbers),
        decays=tuple(decays),
        alert=alarm.alert,
        phases=alarm.phases,
    )


def look(alarm: Alarm, numbers: Numbers, decays: list[float]) -> None:
    """Let the alarm look at robust accuracy on test (else val) against train; at clean accuracy without an attack."""
    for inputs, name in ACCURACIES.items():
        train = numbers.series("evaluation", name, "train", inputs)
        for split in ("test", "val"):
            test = numbers.series("evaluation", name, split, inputs)
            common, mine, theirs = np.intersect1d(test.epochs, train.epochs, return_indices=True)
            if len(common):
                alarm.look(common, train.values[theirs], test.values[mine], decays)
                return
    alarm.look(np.zeros(0), np.zeros(0), np.zeros(0), decays)


def decays_so_far(info: Mapping[str, Any], numbers: Numbers) -> list[float]:
    """Epochs after which the learning rate is lowered: as run.json plans them, else as the records show them."""
    planned = info.get("decay_epochs")
    found = [float(e) for e in planned if isinstance(e, int | float)] if isinstance(planned, list) else []
    if found:
        return sorted(found)
    lr = numbers.series("training", "lr")
    return decays_of(lr.epochs, lr.values)


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


def best_so_far(numbers: Numbers) -> Best | None:
    """The largest robust accuracy (clean, where no attack was evaluated) on val where there is one, else on test."""
    for inputs, name in ACCURACIES.items():
        for split in ("val", "test"):
            series = numbers.series("evaluation", name, split, inputs)
            if len(series):
                at = int(series.values.argmax())
                now = float(series.values[-1])
                return Best(int(series.epochs[at]), float(series.values[at]), now, split, inputs)
    return None


def curves_of(numbers: Numbers) -> tuple[Curve, ...]:
    """What there is to draw, in order."""
    found = []
    for title, *source in CURVES:
        other, *instead = INSTEAD[title]
        curve = Curve(title, numbers.series(*source))
        curve = curve if len(curve.series) else Curve(other, numbers.series(*instead))
        if len(curve.series):
            found.append(curve)
    return tuple(found)


def seconds_per_epoch(run: Followed) -> float | None:
    """Mean over the ``RECENT`` last epochs of what training, evaluation and probes took; else as seen from outside."""
    parts = [run.numbers.series("training", f"seconds_{name}") for name in ("training", "evaluation", "probing")]
    if not len(parts[0]):
        return run.pace.seconds
    recent = parts[0].epochs[-RECENT:]
    return float(sum(part.values[np.isin(part.epochs, recent)].sum() for part in parts) / len(recent))


def _accuracies(numbers: Numbers) -> dict[tuple[str, str], float]:
    found = {}
    for inputs, name in ACCURACIES.items():
        for split in ("train", "val", "test"):
            last = numbers.series("evaluation", name, split, inputs).last
            if last is not None:
                found[inputs, split] = last
    return found


def _n_epochs(run: Followed) -> int | None:
    """None for a monitor that was not told: its configuration says 1."""
    n = run.config.epochs
    return None if run.numbers.epoch > n or (n == 1 and run.config.name == "monitor") else n


def _status(run: Followed, now: float) -> tuple[str, float | None]:
    """The status in a word, and for how long a run has been silent where that is long."""
    status = str(run.info.get("status", "unknown"))
    silent = max(0.0, now - run.changed)
    if status != "running" or silent < max(SILENT, 3 * (seconds_per_epoch(run) or 0.0)):
        return status, None
    return ("running" if is_held(run.folder) else "stopped"), silent
