"""Whether a run overfits robustly, by how much, and from which epoch on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from overfit_lab.probes.metrics.phases import Phases
from overfit_lab.probes.metrics.unimodal import LEAST
from overfit_lab.records.reader import Run
from overfit_lab.records.status import COMPLETE
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject, Verdict
from overfit_lab.views.diagnosis.over_seeds import Mean, median, within
from overfit_lab.views.diagnosis.phases_of import overfits, phases_of
from overfit_lab.views.diagnosis.readings import diverged_at, evaluations_of, is_monitored
from overfit_lab.views.diagnosis.words import Numbers, listed, overfitting_of, plain, seeds


def find(subject: Subject, before: Sequence[Finding]) -> Finding:
    """The verdict of ``metrics.phases`` on most of the seeds, or on their means where the seeds do not settle it."""
    judged = [run for run in subject.runs if is_judged(run)]
    names = tuple(run.name for run in subject.runs)
    if not judged:
        return Finding("onset", subject.name, "not enough evidence", _why_not(subject.runs), advice=_more(subject.runs))
    numbers = Numbers()
    verdict = _verdict(judged, subject.threshold)
    overfitting = [run for run in judged if overfits(run, subject.threshold)]
    say = {"yes": _yes, "no": _no, "not enough evidence": _cannot_tell}[verdict]
    text = say(overfitting, judged, subject.threshold, numbers) + _notes(subject.runs, judged)
    advice = ""
    if verdict == "not enough evidence":
        advice = "Evaluate on more test samples or at more epochs, or train more seeds, so that noise hides less."
    return Finding("onset", subject.name, verdict, text, numbers, "onset", names, advice)


def is_judged(run: Run) -> bool:
    """Whether there are enough finite evaluations for a verdict."""
    return diverged_at(run) is None and phases_of(run).drop is not None


def mean_drop(runs: Sequence[Run]) -> Mean:
    """The drop over seeds that can be judged, with the noise within their runs; at least 0."""
    drops = [drop for run in runs if (drop := phases_of(run).drop) is not None]
    if len(drops) == 1:
        return Mean(drops[0].value, drops[0].low, drops[0].high, 0.0, 1)
    mean = within([drop.value for drop in drops], [drop.stderr for drop in drops])
    return Mean(mean.value, max(mean.low, 0.0), mean.high, mean.spread, mean.n)


def _verdict(judged: Sequence[Run], threshold: float) -> Verdict:
    """Of most seeds; else of their means, which say more than each by itself."""
    found = [phases_of(run, threshold) for run in judged]
    if 2 * sum(part.overfits == 1 for part in found) > len(found):
        return "yes"
    drop = mean_drop(judged)
    if 2 * sum(part.verdict == "none" for part in found) > len(found) or drop.high < threshold:
        return "no"
    widens = all(part.gap is None or part.gap.low > 0 for part in found)
    few = any(part.few is not None for part in found)
    some = any(part.overfits == 1 for part in found)
    return "yes" if some and widens and not few and drop.low > 0 and drop.value >= threshold else "not enough evidence"


def _yes(overfitting: Sequence[Run], judged: Sequence[Run], threshold: float, numbers: Numbers) -> str:
    found = [phases_of(run, threshold) for run in overfitting]
    collapsed = [part for part in found if part.collapse is not None]
    if 2 * len(collapsed) > len(found):
        return _collapse(collapsed, judged, numbers)
    accuracy = evaluations_of(judged[0]).kind
    falling = [run for run in overfitting if phases_of(run, threshold).peak is not None]
    counted = falling if 2 * len(overfitting) > len(judged) else judged
    peaks = [peak for run in falling if (peak := phases_of(run, threshold).peak) is not None]
    start = median([peak.epoch for peak in peaks], [peak.low for peak in peaks], [peak.high for peak in peaks])
    of = "median; " if len(peaks) > 1 else ""
    text = (
        f"{overfitting_of(accuracy).capitalize()} {_in(overfitting, judged, numbers)}: {accuracy} test accuracy drops "
        f"by {_drop(counted, numbers)}, from epoch {numbers.plain('onset', start[0])} on ({of}95% interval "
        f"{numbers.plain('onset_low', start[1])} to {numbers.plain('onset_high', start[2])})"
        f"{_beside(found, numbers)}"
    )
    gaps = [part.gap for part in found if part.gap is not None]
    if gaps:
        growth = numbers.points("gap_growth", float(np.mean([gap.value for gap in gaps])))
        return f"{text}, while its gap to train accuracy widens by {growth} points."
    return f"{text}; train accuracy was not recorded, so that the gap is not judged."


def _collapse(found: Sequence[Phases], judged: Sequence[Run], numbers: Numbers) -> str:
    collapses = [part.collapse for part in found if part.collapse is not None]
    first = min(collapses, key=lambda collapse: collapse.epoch)
    return (
        f"Catastrophic overfitting {seeds(len(found), len(judged))}: robust test accuracy collapses from "
        f"{numbers.percent('before', first.accuracy)} at epoch {numbers.plain('onset', first.before)} within "
        f"two evaluations (down at epoch {numbers.plain('collapse', first.epoch)}) and ends at "
        f"{numbers.percent('left', first.left)}."
    )


def _no(overfitting: Sequence[Run], judged: Sequence[Run], threshold: float, numbers: Numbers) -> str:
    accuracy = evaluations_of(judged[0]).kind
    head = f"No {overfitting_of(accuracy)}{_found(overfitting, judged, numbers)}: {accuracy} test accuracy"
    drop, limit = mean_drop(judged), numbers.points("threshold", threshold)
    if drop.high < threshold:
        return f"{head} drops by {_drop(judged, numbers)}, less than the {limit} that count."
    gaps = [gap for run in judged if (gap := phases_of(run, threshold).gap) is not None]
    if all(gap.value < threshold for gap in gaps) and gaps:
        growth = numbers.points("gap_growth", float(np.mean([gap.value for gap in gaps])))
        return (
            f"{head} drops by {_drop(judged, numbers)}, but its gap to train accuracy does not widen by the {limit} "
            f"points that count ({growth})."
        )
    return f"{head} drops by {_drop(judged, numbers)}; by {limit} points that count in less than half of the seeds."


def _cannot_tell(overfitting: Sequence[Run], judged: Sequence[Run], threshold: float, numbers: Numbers) -> str:
    accuracy = evaluations_of(judged[0]).kind
    few = [part.few for run in judged if (part := phases_of(run, threshold)).few is not None]
    head = f"Cannot tell{_found(overfitting, judged, numbers)}: {accuracy} test accuracy drops by"
    if few:
        return (
            f"{head} {_drop(judged, numbers)}, but that is {numbers.plain('few', few[0])} test samples, which may have "
            f"changed by chance."
        )
    limit = numbers.points("threshold", threshold)
    drop = mean_drop(judged)
    gaps = [gap for run in judged if (gap := phases_of(run, threshold).gap) is not None]
    if drop.low > 0 and drop.value >= threshold and any(gap.low <= 0 for gap in gaps):
        return f"{head} {_drop(judged, numbers)}, but whether its gap to train accuracy widens is hidden in the noise."
    return f"{head} {_drop(judged, numbers)}, which may be less or more than the {limit} that count."


def _drop(runs: Sequence[Run], numbers: Numbers) -> str:
    """``9.3 points (95% interval 8.0 to 10.4)``."""
    drop = mean_drop(runs)
    return (
        f"{numbers.points('drop', drop.value)} points (95% interval {numbers.points('drop_low', drop.low)} to "
        f"{numbers.points('drop_high', drop.high)})"
    )


def _beside(found: Sequence[Phases], numbers: Numbers) -> str:
    """Where the peaks lie beside the decays, if those of all runs lie alike."""
    places = {part.when for part in found}
    if len(places) > 1 or places == {""}:
        return ""
    place: Literal["before any decay", "at a decay", "after a decay", ""] = next(iter(places))
    if place == "before any decay":
        return ", before any decay of the learning rate"
    decay = float(np.median([part.decay_epoch for part in found if part.decay_epoch is not None]))
    return f", {place[:-8]} the decay of the learning rate at epoch {numbers.plain('decay', decay)}"


def _found(overfitting: Sequence[Run], judged: Sequence[Run], numbers: Numbers) -> str:
    """`` (found in 1 of 3 seeds)``; nothing for one run."""
    return f" (found {_in(overfitting, judged, numbers)})" if len(judged) > 1 else ""


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
    return f"Not enough evidence: {most} evaluations on test, a verdict needs {LEAST} of a run."


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
    part = [run.name for run in judged if run.status not in (*COMPLETE, "unknown")]
    if gone:
        notes.append(f"{listed(gone)} diverged and {'is' if len(gone) == 1 else 'are'} passed over")
    if short:
        notes.append(f"{listed(short)}: too few evaluations")
    if part:
        last = plain(max(evaluations_of(run).epochs.max() for run in judged if run.name in part))
        notes.append(f"{listed(part)} not completed, judged up to epoch {last}")
    return f" ({'; '.join(notes)}.)" if notes else ""


REGISTER = {"onset": Question(find, place=0)}
