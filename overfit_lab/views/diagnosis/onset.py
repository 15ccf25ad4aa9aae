"""Whether a run overfits robustly, and from which epoch on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overfit_lab.probes.metrics.phases import ALPHA, LEAST
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject
from overfit_lab.views.diagnosis.over_seeds import median, within
from overfit_lab.views.diagnosis.phases_of import onset_in, overfits, peak_in, phases_of
from overfit_lab.views.diagnosis.readings import decays_in, diverged_at, evaluations_of, is_imported
from overfit_lab.views.diagnosis.words import Numbers, listed, overfitting_of, plain, seeds

UNSEEN = 0.05
"""Loss of accuracy that must be excluded for a "no": where the interval of the loss goes beyond, noise may hide it."""


def find(subject: Subject, before: Sequence[Finding]) -> Finding:
    """Yes where more than half of the seeds that can be judged overfit by both tests of ``metrics.phases``."""
    judged = [run for run in subject.runs if is_judged(run)]
    names = tuple(run.name for run in subject.runs)
    if not judged:
        return Finding("onset", subject.name, "not enough evidence", _why_not(subject.runs), advice=_more(subject.runs))
    found = [run for run in judged if overfits(run)]
    numbers = Numbers()
    note = _notes(subject.runs, judged)
    if 2 * len(found) > len(judged):
        return Finding("onset", subject.name, "yes", _yes(found, judged, numbers) + note, numbers, "onset", names)
    falls = [phases_of(run).fall for run in judged]
    loss = within([fall.drop for fall in falls if fall], [fall.stderr for fall in falls if fall])
    if loss.high > UNSEEN:
        text = (
            f"Not enough evidence: the tests find overfitting {_in(found, judged, numbers)}, but a loss of up to "
            f"{numbers.points('loss_high', loss.high)} points of {_what(judged)} test accuracy may hide in the noise."
        )
        advice = "Evaluate on more test samples or at more epochs, or train more seeds, so that noise hides less."
        return Finding(
            "onset", subject.name, "not enough evidence", text + note, numbers, "onset", names, advice=advice
        )
    text = (
        f"No {_overfitting(judged)}: a growing gap together with a fall of {_what(judged)} test accuracy past its peak "
        f"is found {_in(found, judged, numbers)} (level {numbers.plain('alpha', ALPHA)}), and a loss above "
        f"{numbers.points('loss_high', max(loss.high, 0.0))} points is excluded."
    )
    return Finding("onset", subject.name, "no", text + note, numbers, "onset", names)


def is_judged(run: Run) -> bool:
    """Whether there are enough finite evaluations for the tests."""
    return diverged_at(run) is None and phases_of(run).verdict != "not enough evidence"


def _yes(found: Sequence[Run], judged: Sequence[Run], numbers: Numbers) -> str:
    peaks = [peak for peak in map(peak_in, found) if peak is not None]
    start = median([peak.epoch for peak in peaks], [peak.low for peak in peaks], [peak.high for peak in peaks])
    of = "median; " if len(found) > 1 else ""
    text = (
        f"{_overfitting(judged).capitalize()} {_in(found, judged, numbers)}: {_what(judged)} test accuracy falls from "
        f"epoch {numbers.plain('onset', start[0])} on ({of}95% interval {numbers.plain('onset_low', start[1])} to "
        f"{numbers.plain('onset_high', start[2])})"
    )
    gaps = [gap for run in found if (gap := phases_of(run).onset) is not None]
    grows = median([gap.epoch for gap in gaps], [gap.low for gap in gaps], [gap.high for gap in gaps])
    text += (
        f", and a line fitted to its gap to train accuracy rises from epoch {numbers.plain('gap_onset', grows[0])} on "
        f"({numbers.plain('gap_low', grows[1])} to {numbers.plain('gap_high', grows[2])})"
    )
    decays = [max(past) for run in found if (past := [d for d in decays_in(run) if d <= (onset_in(run) or 0)])]
    if len(decays) == len(found):
        text += f", after the decay of the learning rate at epoch {numbers.plain('decay', float(np.median(decays)))}"
    return f"{text}."


def _in(found: Sequence[Run], judged: Sequence[Run], numbers: Numbers) -> str:
    """``in 2 of 3 seeds``, with its numbers kept where they are said."""
    if len(judged) > 1:
        numbers.plain("n_overfit", len(found))
        numbers.plain("n_judged", len(judged))
    return seeds(len(found), len(judged))


def _what(runs: Sequence[Run]) -> str:
    return evaluations_of(runs[0]).what


def _overfitting(runs: Sequence[Run]) -> str:
    return overfitting_of(_what(runs))


def _why_not(runs: Sequence[Run]) -> str:
    if all(map(is_imported, runs)):
        return "Not enough evidence: imported weights have no history of training."
    gone = [f"{run.name} at epoch {at}" for run in runs if (at := diverged_at(run)) is not None]
    if gone:
        return f"Not enough evidence: training diverged ({', '.join(gone)})."
    most = max(len(evaluations_of(run).epochs) for run in runs)
    if most < LEAST:
        return f"Not enough evidence: {most} evaluations on train and test, the tests need {LEAST} of a run."
    return f"Not enough evidence: too few of the {most} evaluations come after the first decay of the learning rate."


def _more(runs: Sequence[Run]) -> str:
    if all(map(is_imported, runs)) or any(diverged_at(run) is not None for run in runs):
        return ""
    if all(run.config.epochs < LEAST for run in runs):
        return f"Train for longer: {LEAST} evaluations are needed."
    return "Train with an evaluation every epoch: `overfit-lab train RUN/config.yaml --set evaluation.every=1`."


def _notes(runs: Sequence[Run], judged: Sequence[Run]) -> str:
    """Which runs were passed over or not completed."""
    notes = []
    gone = [run.name for run in runs if diverged_at(run) is not None]
    short = [run.name for run in runs if run not in judged and run.name not in gone]
    part = [run.name for run in judged if run.info.get("status") not in ("completed", None)]
    if gone:
        notes.append(f"{listed(gone)} diverged and {'is' if len(gone) == 1 else 'are'} passed over")
    if short:
        notes.append(f"{listed(short)}: too few evaluations")
    if part:
        last = plain(max(evaluations_of(run).epochs.max() for run in judged if run.name in part))
        notes.append(f"{listed(part)} not completed, judged up to epoch {last}")
    return f" ({'; '.join(notes)}.)" if notes else ""


REGISTER = {"onset": Question(find, place=0)}
