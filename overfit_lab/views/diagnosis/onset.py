"""Whether a run overfits robustly, and from which epoch on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overfit_lab.probes.metrics.phases import ALPHA, LEAST, Fall
from overfit_lab.records.reader import Run
from overfit_lab.records.status import COMPLETE
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject
from overfit_lab.views.diagnosis.over_seeds import median, within
from overfit_lab.views.diagnosis.phases_of import onset_in, overfits, peak_in, phases_of
from overfit_lab.views.diagnosis.readings import decays_in, diverged_at, evaluations_of, is_monitored
from overfit_lab.views.diagnosis.words import Numbers, listed, overfitting_of, plain, seeds

UNSEEN = 0.05
"""Loss of accuracy that must be excluded for a "no": where the interval of the loss goes beyond, noise may hide it."""


def find(subject: Subject, before: Sequence[Finding]) -> Finding:
    """Yes where more than half of the seeds that can be judged overfit by both tests of ``metrics.phases``."""
    judged = [run for run in subject.runs if is_judged(run)]
    names = tuple(run.name for run in subject.runs)
    if not judged:
        return Finding("onset", subject.name, "not enough evidence", _why_not(subject.runs), advice=_more(subject.runs))
    accuracy = evaluations_of(judged[0]).kind
    overfitting = [run for run in judged if overfits(run)]
    numbers = Numbers()
    note = _notes(subject.runs, judged)
    if 2 * len(overfitting) > len(judged):
        return Finding("onset", subject.name, "yes", _yes(overfitting, judged, numbers) + note, numbers, "onset", names)
    falls = [phases_of(run).fall for run in judged]
    loss = within([fall.drop for fall in falls if fall], [fall.stderr for fall in falls if fall])
    if loss.high > UNSEEN:
        text = (
            f"Not enough evidence: the tests find overfitting {_in(overfitting, judged, numbers)}, but a loss of up to "
            f"{numbers.points('loss_high', loss.high)} points of {accuracy} test accuracy may hide in the noise."
        )
        advice = "Evaluate on more test samples or at more epochs, or train more seeds, so that noise hides less."
        return Finding("onset", subject.name, "not enough evidence", text + note, numbers, "onset", names, advice)
    text = (
        f"No {overfitting_of(accuracy)}: a growing gap together with a fall of {accuracy} test accuracy past its peak "
        f"is found {_in(overfitting, judged, numbers)} (level {numbers.plain('alpha', ALPHA)}), and a loss above "
        f"{numbers.points('loss_high', max(loss.high, 0.0))} points is excluded."
    )
    return Finding("onset", subject.name, "no", text + note, numbers, "onset", names)


def is_judged(run: Run) -> bool:
    """Whether there are enough finite evaluations for the tests."""
    return diverged_at(run) is None and phases_of(run).verdict != "not enough evidence"


def fall_of(run: Run) -> Fall | None:
    """How far test accuracy fell, corrected for the luck of a maximum; None without enough evaluations."""
    return phases_of(run).fall if is_judged(run) else None


def _yes(overfitting: Sequence[Run], judged: Sequence[Run], numbers: Numbers) -> str:
    accuracy = evaluations_of(judged[0]).kind
    peaks = [peak for peak in map(peak_in, overfitting) if peak is not None]
    start = median([peak.epoch for peak in peaks], [peak.low for peak in peaks], [peak.high for peak in peaks])
    of = "median; " if len(overfitting) > 1 else ""
    text = (
        f"{overfitting_of(accuracy).capitalize()} {_in(overfitting, judged, numbers)}: {accuracy} test accuracy falls "
        f"from epoch {numbers.plain('onset', start[0])} on ({of}95% interval {numbers.plain('onset_low', start[1])} to "
        f"{numbers.plain('onset_high', start[2])})"
    )
    gaps = [gap for run in overfitting if (gap := phases_of(run).onset) is not None]
    grows = median([gap.epoch for gap in gaps], [gap.low for gap in gaps], [gap.high for gap in gaps])
    text += (
        f", and a line fitted to its gap to train accuracy rises from epoch {numbers.plain('gap_onset', grows[0])} on "
        f"({numbers.plain('gap_low', grows[1])} to {numbers.plain('gap_high', grows[2])})"
    )
    decays = [max(past) for run in overfitting if (past := [d for d in decays_in(run) if d <= (onset_in(run) or 0)])]
    if len(decays) == len(overfitting):
        text += f", after the decay of the learning rate at epoch {numbers.plain('decay', float(np.median(decays)))}"
    return f"{text}."


def _in(overfitting: Sequence[Run], judged: Sequence[Run], numbers: Numbers) -> str:
    """``in 2 of 3 seeds``; its numbers are collected."""
    if len(judged) > 1:
        numbers.plain("n_overfit", len(overfitting))
        numbers.plain("n_judged", len(judged))
    return seeds(len(overfitting), len(judged))


def _why_not(runs: Sequence[Run]) -> str:
    if all(run.is_imported for run in runs):
        return "Not enough evidence: imported weights have no history of training."
    gone = [f"{run.name} at epoch {epoch}" for run in runs if (epoch := diverged_at(run)) is not None]
    if gone:
        return f"Not enough evidence: training diverged ({', '.join(gone)})."
    most = max(len(evaluations_of(run).epochs) for run in runs)
    if most < LEAST:
        return f"Not enough evidence: {most} evaluations on train and test, the tests need {LEAST} of a run."
    return f"Not enough evidence: too few of the {most} evaluations come after the first decay of the learning rate."


def _more(runs: Sequence[Run]) -> str:
    if all(run.is_imported for run in runs) or any(diverged_at(run) is not None for run in runs):
        return ""
    if all(run.config.epochs < LEAST for run in runs) or all(map(is_monitored, runs)):
        return f"Train for longer: {LEAST} evaluations are needed."
    return "Train with an evaluation every epoch: `overfit-lab train RUN/config.yaml --set evaluation.every=1`."


def _notes(runs: Sequence[Run], judged: Sequence[Run]) -> str:
    """A note on runs that were left out or not completed."""
    notes = []
    gone = [run.name for run in runs if diverged_at(run) is not None]
    short = [run.name for run in runs if run not in judged and run.name not in gone]
    part = [run.name for run in judged if run.info.get("status") not in (*COMPLETE, None)]
    if gone:
        notes.append(f"{listed(gone)} diverged and {'is' if len(gone) == 1 else 'are'} passed over")
    if short:
        notes.append(f"{listed(short)}: too few evaluations")
    if part:
        last = plain(max(evaluations_of(run).epochs.max() for run in judged if run.name in part))
        notes.append(f"{listed(part)} not completed, judged up to epoch {last}")
    return f" ({'; '.join(notes)}.)" if notes else ""


REGISTER = {"onset": Question(find, place=0)}
