"""Whether labels that noise changed are learnt by heart; without label noise, whether training samples are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overfit_lab.probes.metrics.proportion import interval
from overfit_lab.records.noise import is_noisy, noise_of
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject, Verdict
from overfit_lab.views.diagnosis.onset import is_judged
from overfit_lab.views.diagnosis.phases_of import onset_in, peak_in, phases_of
from overfit_lab.views.diagnosis.readings import evaluations_of, first_with, number_of_classes
from overfit_lab.views.diagnosis.words import Numbers, seeds

SOURCES = (
    ("memorisation", "fitted", "train", "clean"),
    ("memorisation", "acc_given/corrupted", "train", "clean"),
)
"""Share of corrupted training samples whose given label is answered; of those really changed where that is recorded."""
UNDER_ATTACK = (
    ("memorisation", "fitted", "train", "adversarial"),
    ("memorisation", "acc_given/corrupted", "train", "adversarial"),
)
CLASSES = 10
"""Taken where a run does not say how many classes its data have."""


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes where corrupted labels are fitted clearly more often than by guessing, in more than half of the seeds.

    A model that has learnt nothing by heart answers the true label or guesses: it gives a changed label with
    probability 1 / K at most. Clear is the exact 95% interval of the share.
    """
    noisy = any(map(is_noisy, subject.runs))
    measured = [run for run in subject.runs if run.config.is_monitored and len(run.series(*SOURCES[0]))]
    noisy |= any(noise_of(run) is None for run in measured)  # of a folder that does not say what was measured
    if all(run.is_imported for run in subject.runs):
        return None
    if not noisy:
        return _without_noise(subject)
    source = first_with(subject.runs, SOURCES)
    have = [run for run in subject.runs if source and _is_counted(run, source)]
    if source is None or not have:
        text = "Not enough evidence: memorisation was not recorded."
        return Finding("memorisation", subject.name, "not enough evidence", text, metric="memorisation")
    chance = float(np.mean([chance_of(run, source) for run in have]))
    last = [run.series(*source).iloc[-1] for run in have]
    shares = [float(row["value"]) for row in last]
    bounds = [interval(round(s * int(row["n"])), int(row["n"])) for s, row in zip(shares, last, strict=True)]
    above = sum(low > chance for low, _ in bounds)
    verdict: Verdict = "yes" if 2 * above > len(have) else "no"
    numbers = Numbers()
    text = (
        f"Corrupted labels are {'' if verdict == 'yes' else 'not '}memorised: "
        f"{numbers.percent('fitted', _mean(shares))} of them are answered on clean training images at the end"
        f"{_earlier(have, source, numbers)}; guessing gives "
        f"{numbers.percent('chance', chance)} at most (clearly more {seeds(above, len(have))})"
    )
    attacked = first_with(have, UNDER_ATTACK)
    if attacked is not None:
        under = [run.series(*attacked)["value"].iloc[-1] for run in have if len(run.series(*attacked))]
        text += f"; under attack it is {numbers.percent('fitted_adversarial', _mean(under))}"
    names = tuple(run.name for run in have)
    figure = None if measured else "fig4"  # which is by the rate of noise
    return Finding("memorisation", subject.name, verdict, f"{text}.", numbers, figure, names)


def _is_counted(run: Run, source: tuple[str, str, str, str]) -> bool:
    """Whether the last reading says of how many samples it is."""
    series = run.series(*source)
    return len(series) > 0 and int(series["n"].fillna(0).iloc[-1]) > 0


def chance_of(run: Run, source: Sequence[str]) -> float:
    """Share of corrupted samples that a guess, or the true label, answers as given.

    With symmetric noise a resampled label may equal the true one; those count as fitted unless ``fitted`` is recorded,
    which leaves them out.
    """
    classes = number_of_classes(run) or CLASSES
    unchanged = 1 / classes if run.config.data.noise.kind == "symmetric" and source[1] != "fitted" else 0.0
    return unchanged + (1 - unchanged) / classes


def _earlier(runs: Sequence[Run], source: tuple[str, str, str, str], numbers: Numbers) -> str:
    """What it was at the onset or the best epoch, over runs that have an earlier reading."""
    shares = []
    for run in runs:
        series, peak = run.series(*source), peak_in(run)
        onset = onset_in(run) if onset_in(run) is not None else (peak.epoch if peak is not None else None)
        early = series[series["epoch"] <= onset] if onset is not None else series.iloc[:1]
        if len(series) > 1 and len(early):
            shares.append(float(early["value"].iloc[-1]))
    return f", {numbers.percent('fitted_before', _mean(shares))} at the best epoch" if len(shares) == len(runs) else ""


def _without_noise(subject: Subject) -> Finding:
    """From train accuracy and its gap to test accuracy; a gap that stays says no more than that it stays."""
    judged = [run for run in subject.runs if is_judged(run) and evaluations_of(run).has_train]
    if not judged:
        text = "Not enough evidence: no corrupted labels are known, and too few evaluations to look at the gap."
        return Finding("memorisation", subject.name, "not enough evidence", text)
    rows = []
    for run in judged:
        seen, peak = evaluations_of(run), peak_in(run)
        both = np.isfinite(seen.train)
        epochs, train, gap = seen.epochs[both], seen.train[both], (seen.train - seen.test)[both]
        best = int(np.abs(epochs - peak.epoch).argmin()) if peak is not None else 0
        rows.append((train[best], train[-1], gap[best], gap[-1]))
    grows = sum(phases_of(run).onset is not None for run in judged)
    verdict: Verdict = "yes" if 2 * grows > len(judged) else "no"
    train, end, gap, last = np.mean(rows, axis=0)
    numbers = Numbers()
    kind = evaluations_of(judged[0]).kind
    head = {
        "yes": "training samples are fitted beyond what carries over to test samples",
        "no": "no sign that training samples are memorised",
    }[verdict]
    text = (
        f"No labels are known to be corrupted; by accuracy, {head}: "
        f"{kind} train accuracy goes from {numbers.percent('train_best', train)} at the best epoch to "
        f"{numbers.percent('train_final', end)}, its gap to test accuracy from {numbers.points('gap_best', gap)} to "
        f"{numbers.points('gap_final', last)} points (growing beyond noise {seeds(grows, len(judged))})."
    )
    names = tuple(run.name for run in judged)
    return Finding("memorisation", subject.name, verdict, text, numbers, "overview", names)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


REGISTER = {"memorisation": Question(find, place=20)}
