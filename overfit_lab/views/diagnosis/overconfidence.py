"""Whether the model grows overconfident under attack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from overfit_lab.probes.metrics.growth import LEAST_READINGS
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject, Verdict
from overfit_lab.views.diagnosis.grown import growth_in, mean_change, stages_of
from overfit_lab.views.diagnosis.readings import inputs_of
from overfit_lab.views.diagnosis.words import Numbers

LEAST_RISE = 0.05
"""A rise of the calibration error by less is not called growth."""
LEAST_SIGN = 0.02
"""Mean confidence within this of accuracy is neither over- nor underconfidence."""


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes where adversarial ECE rises beyond noise, by ``LEAST_RISE`` or more, and confidence ends above accuracy.

    ECE has no sign; mean confidence less accuracy has, on the same samples. None for imported weights.
    """
    if all(run.is_imported for run in subject.runs):
        return None
    inputs = inputs_of(subject.runs[0])
    source = ("calibration", "ece", "test", inputs)
    have = [run for run in subject.runs if len(run.series(*source))]
    if not have:
        text = f"Not enough evidence: calibration on {inputs} test images was not recorded."
        return Finding("overconfidence", subject.name, "not enough evidence", text, metric="calibration")
    names, numbers = tuple(run.name for run in have), Numbers()
    verdict: Verdict = "not enough evidence"
    changes = [change for run in have if (change := growth_in(run, source, logarithm=False)) is not None]
    signs = [sign for run in have if (sign := sign_of(run, inputs)) is not None]
    ece = float(np.mean([run.series(*source)["value"].iloc[-1] for run in have]))
    end = f"{inputs} ECE ends at {numbers.plain('ece', ece)}"
    sign = float(np.mean(signs)) if signs else None
    if sign is not None:
        side = "above" if sign > 0 else "below"
        end += f", confidence {numbers.points('sign', abs(sign))} points {side} accuracy ({named(sign)})"
    if not changes or sign is None:
        why = f"fewer than {numbers.plain('needed', LEAST_READINGS)} readings" if not changes else "sign not recorded"
        metric = "calibration" if not changes else "confidence"
        text = f"Not enough evidence of growth ({why}): {end}."
        return Finding("overconfidence", subject.name, verdict, text, numbers, "calibration", names, metric=metric)
    mean = mean_change(changes)
    if mean.high < LEAST_RISE or mean.value <= 0 or sign <= LEAST_SIGN:
        verdict = "no"
    elif mean.low > 0 and mean.value >= LEAST_RISE:
        verdict = "yes"
    early, first, late, last = stages_of(changes)
    head = {"yes": "Overconfidence grows", "no": "Overconfidence does not grow"}.get(
        verdict, "Not enough evidence that overconfidence grows"
    )
    text = (
        f"{head}: {inputs} ECE goes from {numbers.plain('early', early)} at {first} to {numbers.plain('late', late)} "
        f"at {last}, a change of {numbers.plain('change', mean.value)} (95% interval "
        f"{numbers.plain('change_low', mean.low)} to {numbers.plain('change_high', mean.high)}); {end}."
    )
    return Finding("overconfidence", subject.name, verdict, text, numbers, "calibration", names)


def named(sign: float) -> str:
    """``overconfident``, ``underconfident`` or ``neither over- nor underconfident``."""
    if abs(sign) <= LEAST_SIGN:
        return "neither over- nor underconfident"
    return "overconfident" if sign > 0 else "underconfident"


def sign_of(run: Run, inputs: str) -> float | None:
    """Mean confidence less accuracy on test at the last epoch that has both, on the same samples.

    From the bins of the reliability diagram where they are kept; else accuracy is the share of samples behind
    ``conf_correct``; else that of the evaluation.
    """
    for epoch in reversed(run.epochs_with_arrays("calibration")):
        bins = run.arrays("calibration", epoch).get(f"reliability-test-{inputs}")
        if bins is not None and bins.ndim == 2 and bins.shape[1] == 3 and bins[:, 2].sum() > 0:
            filled = bins[bins[:, 2] > 0]
            return float(((filled[:, 0] - filled[:, 1]) * filled[:, 2]).sum() / filled[:, 2].sum())
    confidence = run.series("confidence", "conf", "test", inputs)
    if confidence.empty:
        return None
    epoch, conf, n = (confidence[name].iloc[-1] for name in ("epoch", "value", "n"))
    right = run.series("confidence", "conf_correct", "test", inputs)
    n_right = right.loc[right["epoch"] == epoch, "n"].dropna()
    if len(n_right) and not pd.isna(n) and n > 0:
        return float(conf - n_right.iloc[-1] / n)
    field = "acc_adv" if inputs == "adversarial" else "acc_clean"
    accuracy = run.value_at(int(epoch), "evaluation", field, "test", inputs)
    return None if accuracy is None else float(conf - accuracy)


REGISTER = {"overconfidence": Question(find, place=60)}
