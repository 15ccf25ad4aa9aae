"""From when on a run overfits robustly, and whether it does: tests on what was recorded so far."""

from __future__ import annotations

import numpy as np
import torch

from overfit_lab.errors import ProbeError
from overfit_lab.probes.base import Field, Probe
from overfit_lab.probes.metrics.decays import decays_of
from overfit_lab.probes.metrics.growth import growth_of
from overfit_lab.probes.metrics.phases import Phases, phases, samples_of
from overfit_lab.probes.snapshot import RAW, History, Snapshot
from overfit_lab.types import Measurement, Value

ACCURACIES = {"adversarial": "acc_adv", "clean": "acc_clean", "noisy": "acc_noisy"}


class PhasesProbe(Probe):
    """Onset of robust overfitting, how far robust test accuracy fell, and growth of the gradient norm; with a verdict.

    It reads the records of the run up to the snapshot and looks at no sample: ``split`` is where the accuracy is held
    against that on train, ``inputs`` says which accuracy (clean ones give overfitting of clean accuracy), and the ``n``
    of a number counts evaluations; the option ``n`` plays no part. Numbers that cannot be told are left out: an onset
    that is not significant, a growth ratio without readings of the gradient norm. ``overfits`` is not a number while
    there are too few evaluations. Meaning and limits of the tests: :mod:`overfit_lab.probes.metrics.phases`.
    """

    name = "phases"
    source = "Rice et al. 2020 (arXiv 2002.11569); SGLR (Yu et al. 2024), Fig. 1; Hansen 1996 (tests for a change)"
    default_inputs = ("adversarial",)
    fields = (
        Field("overfits", "1 where test accuracy drops as the gap to train widens, or collapses; 0 where not"),
        Field("drop", "test accuracy at its best minus its end, less the luck of a maximum", better="lower"),
        Field("drop_low", "lower end of its 95% interval"),
        Field("drop_high", "upper end of its 95% interval"),
        Field("drop_p", "p-value of the test against an accuracy that never falls"),
        Field("gap_growth", "growth of train minus test accuracy since the best evaluations", better="lower"),
        Field("peak_epoch", "epoch from which test accuracy falls, else that of its best evaluations", unit="epochs"),
        Field("peak_low", "lower end of its 95% interval", unit="epochs"),
        Field("peak_high", "upper end of its 95% interval", unit="epochs"),
        Field("collapse_epoch", "first evaluation after a collapse of robust accuracy", unit="epochs"),
        Field("onset_epoch", "epoch at which the generalisation gap begins to grow", unit="epochs"),
        Field("onset_low", "lower end of its 95% interval", unit="epochs"),
        Field("onset_high", "upper end of its 95% interval", unit="epochs"),
        Field("onset_p", "p-value of the test against a level gap"),
        Field("decay_epoch", "last decay of the learning rate before the peak", unit="epochs"),
        Field(
            "growth_ratio", "gradient norm of the last readings over that of the stationary stage, see metrics.growth"
        ),
    )

    def check(self, snapshot: Snapshot) -> None:
        """Also: there are records of a run, and the split is not train."""
        super().check(snapshot)
        for split, inputs in self.wanted(snapshot):
            if split == "train":
                raise ProbeError("phases: holds a split's accuracy against that on train; ask for split test or val")
            if inputs not in ACCURACIES:
                raise ProbeError(f"phases: no accuracy on {inputs} inputs is recorded; ask for adversarial or clean")
        if snapshot.history is None:
            raise ProbeError("phases: needs the records of a run; give a run folder, not a weights file")

    def made_first(self, snapshot: Snapshot) -> list[tuple[str, str, int | None]]:
        """Nothing: it reads what was recorded."""
        return []

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """The phases on each split and kind of inputs. Cost: no pass of the model; below 0.5 s for 200 epochs."""
        history = snapshot.history
        if history is None:
            raise ProbeError("phases: needs the records of a run; give a run folder, not a weights file")
        values = []
        for split, inputs in self.wanted(snapshot):
            values += self._measure(snapshot, history, split, inputs)
        return Measurement(values)

    def _measure(self, snapshot: Snapshot, history: History, split: str, inputs: str) -> list[Value]:
        evaluation, field = snapshot.name_of("evaluation"), ACCURACIES[inputs]
        epochs, test, errors = history.series(evaluation, field, split, inputs)
        train, clean = (
            _at(epochs, *history.series(evaluation, *place)[:2])
            for place in ((field, "train", inputs), ("acc_clean", split, "clean"))
        )
        lr_epochs, lr, _ = history.series("training", "lr")
        decays = decays_of(lr_epochs, lr)
        # The seed of the simulated curves is the default one, as in a diagnosis: one series has one verdict.
        n_test = samples_of(test, errors)
        beside = clean if inputs == "adversarial" else None
        result = phases(epochs, train, test, decays=decays, clean=beside, n_test=n_test)
        numbers = _numbers(result)
        ratio = _growth(snapshot, history, None if result.peak is None else result.peak.epoch, decays)
        if ratio is not None:
            numbers["growth_ratio"] = ratio
        n = len(epochs)
        return [Value(name, value, split, inputs, "given", n, error) for name, (value, error) in numbers.items()]


def _at(epochs: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at some epochs (n,), NaN where there are none."""
    there = dict(zip(known.tolist(), values.tolist(), strict=True))
    return np.array([there.get(epoch, float("nan")) for epoch in epochs.tolist()])


def _numbers(result: Phases) -> dict[str, tuple[float, float | None]]:
    """Field to value and standard error, those that exist."""
    numbers: dict[str, tuple[float, float | None]] = {"overfits": (result.overfits, None)}
    if result.drop is not None:
        drop = result.drop
        numbers |= {"drop": (drop.value, None), "drop_low": (drop.low, None), "drop_high": (drop.high, None)}
        numbers |= {"drop_p": (drop.p, None), "peak_epoch": (drop.peak, None)}
    if result.gap is not None:
        numbers["gap_growth"] = (result.gap.value, None)
    if result.peak is not None:
        peak = result.peak
        numbers |= {"peak_epoch": (peak.epoch, None), "peak_low": (peak.low, None), "peak_high": (peak.high, None)}
    if result.collapse is not None:
        numbers["collapse_epoch"] = (result.collapse.epoch, None)
    if result.onset is not None:
        onset = result.onset
        numbers |= {"onset_epoch": (onset.epoch, None), "onset_low": (onset.low, None)}
        numbers |= {"onset_high": (onset.high, None), "onset_p": (onset.p, None)}
    if result.decay_epoch is not None:
        numbers["decay_epoch"] = (result.decay_epoch, None)
    return numbers


def _growth(
    snapshot: Snapshot, history: History, onset: float | None, decays: list[float]
) -> tuple[float, float | None] | None:
    """The growth ratio of the full gradient norm on adversarial training images, else of the mini-batches' norm."""
    for reading in ("full", "minibatch"):
        epochs, norms, _ = history.series(snapshot.name_of("gradient-norm"), reading, "train", "adversarial")
        if len(epochs):
            break
    if not len(epochs) and snapshot.weights == RAW:
        epochs, norms, _ = history.series("training", "grad_norm_minibatch", "train")
    grown = growth_of(epochs, norms, onset=onset, first_decay=min(decays, default=None), logarithm=True)
    return None if grown is None else grown.ratio


REGISTER = {"phases": PhasesProbe}
