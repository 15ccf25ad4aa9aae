"""Readings of a run's records for the diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overfit_lab.probes.metrics.decays import decays_of
from overfit_lab.records.best import INPUTS, WHAT, after_robustness, judged
from overfit_lab.records.per_run import once_per_run
from overfit_lab.records.reader import Run


@dataclass(frozen=True)
class Evaluations:
    """Accuracies of a run at the epochs at which it has them on test.

    Args:
        epochs: (n,), increasing.
        train: accuracy, in [0, 1], NaN where it was not recorded (n,).
        test: accuracy (n,).
        clean: clean test accuracy, NaN where it was not recorded (n,).
        n_test: test samples; None where unknown.
        inputs: ``adversarial``, or ``clean`` for standard training and where no attack was run.
    """

    epochs: np.ndarray
    train: np.ndarray
    test: np.ndarray
    clean: np.ndarray
    n_test: int | None
    inputs: str

    @property
    def has_train(self) -> bool:
        """Whether train accuracy was recorded at any of the epochs."""
        return bool(np.isfinite(self.train).any())

    @property
    def kind(self) -> str:
        """``robust`` or ``clean``."""
        return WHAT[self.inputs]


@once_per_run
def inputs_of(run: Run) -> str:
    """Inputs whose accuracy is judged: adversarial ones, but for standard training and where no attack was run."""

    def measured(metric: str, split: str) -> bool:
        return len(run.series("evaluation", metric, split, INPUTS[metric])) > 0

    accuracy = judged(after_robustness(run.config, run.info), measured)
    return INPUTS[accuracy[0]] if accuracy else "clean"


@once_per_run
def evaluations_of(run: Run) -> Evaluations:
    """The accuracies that are judged, at the epochs that have one on test (on val, where test has none); maybe none."""
    inputs = inputs_of(run)
    field = "acc_adv" if inputs == "adversarial" else "acc_clean"
    test = run.series("evaluation", field, "test", inputs)
    split = "test" if len(test) else "val"
    test = (test if len(test) else run.series("evaluation", field, split, inputs)).sort_values("epoch")
    sizes = test["n"].dropna()
    others = (run.series("evaluation", *place) for place in ((field, "train", inputs), ("acc_clean", split, "clean")))
    train, clean = (other.set_index("epoch")["value"].reindex(test["epoch"]).to_numpy(float) for other in others)
    epochs, values = test[["epoch", "value"]].to_numpy(dtype=float).T
    return Evaluations(epochs, train, values, clean, int(sizes.min()) if len(sizes) else None, inputs)


@once_per_run
def decays_in(run: Run) -> tuple[float, ...]:
    """Epochs after which the learning rate fell, by the records."""
    lr = run.series("training", "lr")
    epochs, rates = lr["epoch"].to_numpy(dtype=float), lr["value"].to_numpy(dtype=float)
    return tuple(decays_of(epochs, rates))


@once_per_run
def diverged_at(run: Run) -> int | None:
    """First epoch at which training or evaluation recorded a loss or an accuracy that is no finite number."""
    frame = run.records
    watched = frame["probe"].isin(["training", "evaluation"]) & frame["field"].str.startswith(("loss", "acc_"))
    lost = frame.loc[watched & ~np.isfinite(frame["value"]), "epoch"]
    return int(lost.min()) if len(lost) else None


def is_monitored(run: Run) -> bool:
    """Whether somebody's own loop trained the run, so that no command can train it again or find its checkpoints."""
    return run.config.is_monitored


def first_with(runs: Sequence[Run], sources: Sequence[tuple[str, str, str, str]]) -> tuple[str, str, str, str] | None:
    """The first of some sources (probe, field, split, inputs) that any of the runs has readings of."""
    return next((source for source in sources if any(len(run.series(*source)) for run in runs)), None)


def number_of_classes(run: Run) -> int | None:
    """Classes of the data, where the run says so."""
    classes = run.info.get("data", {}).get("n_classes") if isinstance(run.info.get("data"), dict) else None
    return int(classes) if isinstance(classes, int) and classes > 1 else None
