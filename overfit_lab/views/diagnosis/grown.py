"""Whether a number grows with the overfitting; shared by the findings about one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overfit_lab.probes.metrics.growth import LEAST_READINGS, Growth, growth_of
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import Finding, Subject, Verdict
from overfit_lab.views.diagnosis.over_seeds import Mean, within
from overfit_lab.views.diagnosis.phases_of import onset_in
from overfit_lab.views.diagnosis.readings import decays_in, first_with
from overfit_lab.views.diagnosis.words import Numbers, epochs, seeds

LEAST_RATIO = 1.25
"""Growth by less than a quarter is not called growth, however clear of noise it is."""
UNSEEN_RATIO = 2.0
"""Growth that must be excluded for a "no": where the interval of the ratio reaches beyond, noise may hide it."""
BACK = 1.1
"""Late readings within this factor of those before the first decay are only back at their level."""

Source = tuple[str, str, str, str]


@dataclass(frozen=True)
class Watched:
    """A number whose growth is tested.

    Args:
        name: of the finding.
        title: of the number, with its article, as a sentence begins.
        metric: the probe that records it.
        sources: where it is read, the first that was recorded (probe, field, split, inputs).
        figure: that shows it.
    """

    name: str
    title: str
    metric: str
    sources: tuple[Source, ...]
    figure: str


def growth_in(run: Run, source: Source, *, logarithm: bool = True) -> Growth | None:
    """The change of a number from the stationary stage to the end of a run; see ``metrics.growth``."""
    recorded, values = run.series(*source)[["epoch", "value"]].to_numpy(dtype=float).T
    decay = min(decays_in(run), default=None)
    return growth_of(recorded, values, onset=onset_in(run), first_decay=decay, logarithm=logarithm)


def mean_change(changes: Sequence[Growth]) -> Mean:
    """The mean change over seeds, with the noise within their runs."""
    return within([g.change for g in changes], [g.stderr for g in changes], [g.freedom for g in changes])


def stages_of(changes: Sequence[Growth]) -> tuple[float, str, float, str]:
    """Mean early level and its epochs in words, then the same of the late level."""
    early, late = (float(np.mean([getattr(g, stage) for g in changes])) for stage in ("early", "late"))
    first = epochs(min(g.early_epochs[0] for g in changes), max(g.early_epochs[1] for g in changes))
    last = epochs(min(g.late_epochs[0] for g in changes), max(g.late_epochs[1] for g in changes))
    return early, first, late, last


def judge(ratio: float, low: float, high: float) -> Verdict:
    """Yes, no or not enough evidence of growth, from the ratio of late to early readings and its interval."""
    if low > 1 and ratio >= LEAST_RATIO:
        return "yes"
    return "no" if ratio < LEAST_RATIO and high < UNSEEN_RATIO else "not enough evidence"


def grown(subject: Subject, before: Sequence[Finding], watched: Watched) -> Finding | None:
    """Yes where the ratio of late to early readings is at least ``LEAST_RATIO`` and its whole interval above 1.

    None for imported weights, which have no history to grow in.
    """
    if all(run.is_imported for run in subject.runs):
        return None
    source = first_with(subject.runs, watched.sources)
    runs = tuple(run.name for run in subject.runs if source and len(run.series(*source)))
    if source is None:
        text = f"Not enough evidence: {watched.metric} was not recorded."
        return Finding(watched.name, subject.name, "not enough evidence", text, metric=watched.metric)
    changes = [growth for run in subject.runs if (growth := growth_in(run, source)) is not None]
    numbers, shown = Numbers(), (watched.figure, runs)
    if not changes:
        most = max(len(run.series(*source)) for run in subject.runs)
        text = (
            f"Not enough evidence: {numbers.plain('n_readings', most)} readings of {watched.metric}, "
            f"{numbers.plain('needed', LEAST_READINGS)} of a run are needed, with two late ones."
        )
        verdict: Verdict = "not enough evidence"
        return Finding(watched.name, subject.name, verdict, text, numbers, *shown, metric=watched.metric)
    mean = mean_change(changes)
    ratio, low, high = map(float, np.exp([mean.value, mean.low, mean.high]))
    verdict = judge(ratio, low, high)
    text = _sentence(watched, changes, numbers, verdict, (ratio, low, high)) + _beside(verdict, before)
    return Finding(watched.name, subject.name, verdict, text, numbers, *shown)


def _sentence(
    watched: Watched, changes: Sequence[Growth], numbers: Numbers, verdict: Verdict, ratio: tuple[float, float, float]
) -> str:
    log_early, first, log_late, last = stages_of(changes)
    early, late = float(np.exp(log_early)), float(np.exp(log_late))
    does = {"yes": "grows", "no": "does not grow", "not enough evidence": "may or may not grow"}[verdict]
    up = sum(g.change > 0 for g in changes)
    text = (
        f"{watched.title} {does}: {numbers.plain('ratio', ratio[0])} times its early value (95% interval "
        f"{numbers.plain('ratio_low', ratio[1])} to {numbers.plain('ratio_high', ratio[2])}), from "
        f"{numbers.plain('early', early)} at {first} to {numbers.plain('late', late)} at {last}, "
        f"higher {seeds(up, len(changes))}"
    )
    levels = [g.before for g in changes if g.before is not None]
    if levels and verdict == "yes" and late < BACK * float(np.exp(np.mean(levels))):
        level = numbers.plain("before", float(np.exp(np.mean(levels))))
        text += f"; that is no more than before the first decay of the learning rate, {level}"
    return f"{text}."


def _beside(verdict: Verdict, before: Sequence[Finding]) -> str:
    """Whether growth comes with overfitting or without it."""
    onset = next((finding.verdict for finding in before if finding.name == "onset"), None)
    if verdict == "yes" and onset == "yes":
        return " It accompanies the overfitting."
    if verdict == "yes" and onset == "no":
        return " It does so without overfitting."
    return " The overfitting comes without it." if verdict == "no" and onset == "yes" else ""
