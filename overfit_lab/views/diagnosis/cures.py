"""Which of the methods in the records dropped less than the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overfit_lab.config import RunConfig
from overfit_lab.probes.metrics.drop import width_for
from overfit_lab.records.experiments import differences
from overfit_lab.records.naming import method_title
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.drop import ends_of
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject, Verdict
from overfit_lab.views.diagnosis.onset import is_judged
from overfit_lab.views.diagnosis.over_seeds import Mean, between
from overfit_lab.views.diagnosis.phases_of import phases_of
from overfit_lab.views.diagnosis.readings import diverged_at, evaluations_of, is_monitored
from overfit_lab.views.diagnosis.subject import subjects_of
from overfit_lab.views.diagnosis.words import Numbers, listed

LEAST_HELP = 0.01
"""A method helps where it drops by one percentage point less at least, and the interval of that is above 0."""
MOST_NAMED = 6
"""Methods that the sentence names, those that help most; the others are counted."""


@dataclass(frozen=True)
class Comparison:
    """A method beside the baseline, seed by seed.

    Args:
        name: of the method's experiment.
        less: drop of the baseline minus drop of the method.
        stopping: final accuracy of the method minus best accuracy of the baseline, which is the most that early
            stopping gives; the best is not corrected here, so that what is said to be above it is.
    """

    name: str
    less: Mean
    stopping: Mean

    @property
    def helps(self) -> bool:
        """Whether it drops less, clear of the spread over seeds."""
        return self.less.low > 0 and self.less.value >= LEAST_HELP


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes where a method dropped less than PGD-AT with hard labels, paired by seed, clear of the spread over seeds.

    The drop is best - final less the luck of a maximum. Where the baseline has none, nothing is to cure.
    """
    parts = subjects_of(subject.runs)
    baseline = baseline_of(parts)
    if len(parts) < 2 or baseline is None:
        return None
    compared = [beside for part in parts if part is not baseline and (beside := compare(baseline, part))]
    names = tuple(run.name for run in subject.runs)
    if not compared:
        text = f"Not enough evidence: no method shares a seed with {baseline.name} and was evaluated alike."
        return Finding("cures", subject.name, "not enough evidence", text, figure="methods", runs=names)
    helped = sorted((c for c in compared if c.helps), key=lambda c: -c.less.value)
    numbers = Numbers()
    drops = [drop for run in baseline.runs if (drop := drop_of(run)) is not None]
    what = "PGD-AT" if is_monitored(baseline.runs[0]) else "PGD-AT, hard labels"
    head = f"{baseline.name} ({what}) drops by {numbers.points('baseline', float(np.mean(drops)))} points"
    count = f"{numbers.plain('n_helped', len(helped))} of {numbers.plain('n_compared', len(compared))}"
    verdict: Verdict = "yes"
    if helped:
        named = [_say(method, numbers) for method in helped[:MOST_NAMED]]
        more = "" if len(helped) <= MOST_NAMED else f", and {numbers.plain('n_more', len(helped) - MOST_NAMED)} more"
        text = f"{head}; {count} other methods helped, paired by seed: {'; '.join(named)}{more}."
    elif all(method.less.high < LEAST_HELP for method in compared):
        verdict = "no"
        text = f"{head}; {count} other methods helped: none drops less by {numbers.points('least', LEAST_HELP)} points."
    else:
        verdict = "not enough evidence"
        best = max(compared, key=lambda method: method.less.value)
        text = f"{head}; {count} other methods helped clear of noise over the seeds; {_say(best, numbers)}."
    text += _stopping(compared, numbers)
    advice = _more_seeds(compared) if verdict == "not enough evidence" else ""
    return Finding("cures", subject.name, verdict, text, numbers, "methods", names, advice)


def is_baseline(run: Run) -> bool:
    """PGD-AT with hard labels and nothing added."""
    config = run.config
    if config.is_monitored:
        return (config.monitored.method or "").casefold() == method_title(RunConfig()).casefold()
    plain = config.objective.name == "pgd-at" and config.labels.name == "hard" and not config.regularizers
    return plain and not run.is_imported


def baseline_of(parts: Sequence[Subject]) -> Subject | None:
    """Of the experiments with PGD-AT and hard labels that which differs least from all the others."""
    plain = [part for part in parts if is_baseline(part.runs[0]) and any(drop_of(run) is not None for run in part.runs)]
    if not plain:
        return None
    return min(plain, key=lambda part: sum(len(differences([part.runs[0], other.runs[0]])) for other in parts))


def drop_of(run: Run) -> float | None:
    """The drop of accuracy, less luck where that can be told; None for a run that diverged or was not evaluated."""
    ends = ends_of(run)
    if ends is None or diverged_at(run) is not None:
        return None
    drop = phases_of(run).drop
    return drop.value if drop is not None else ends[0] - ends[1]


def compare(baseline: Subject, method: Subject) -> Comparison | None:
    """Paired by seed; None where no seed has both, or not the same accuracy is judged."""
    theirs = {run.config.seed: run for run in method.runs if drop_of(run) is not None}
    less, stopping = [], []
    for run in baseline.runs:
        other = theirs.get(run.config.seed)
        mine = drop_of(run)
        if other is None or mine is None or evaluations_of(run).inputs != evaluations_of(other).inputs:
            continue
        if is_judged(run) != is_judged(other):
            continue
        drop = drop_of(other)
        assert drop is not None
        less.append(mine - drop)
        stopping.append(_last(other) - _last(run) - _raw_drop(run))
    return Comparison(method.name, between(less), between(stopping)) if less else None


def _last(run: Run) -> float:
    """Final accuracy, a mean of the last few evaluations where there are enough, as the drop has it."""
    test = evaluations_of(run).test
    return float(test[-width_for(len(test)) :].mean() if is_judged(run) else test[-1])


def _raw_drop(run: Run) -> float:
    """Best minus final as it is read."""
    drop, ends = phases_of(run).drop, ends_of(run)
    assert ends is not None
    return drop.raw if drop is not None else ends[0] - ends[1]


def _say(method: Comparison, numbers: Numbers) -> str:
    name, less = method.name, method.less
    text = f"{name} drops by {numbers.points(f'less/{name}', less.value)} points less"
    if not np.isfinite(less.low):
        return f"{text} on one seed, which has no interval"
    low, high = numbers.points(f"low/{name}", less.low), numbers.points(f"high/{name}", less.high)
    return f"{text} (95% interval {low} to {high}, {numbers.plain(f'n/{name}', less.n)} seeds)"


def _stopping(compared: Sequence[Comparison], numbers: Numbers) -> str:
    """Which methods end above what stopping the baseline at its best would have given."""
    better = sorted((method for method in compared if method.stopping.low > 0), key=lambda c: -c.stopping.value)
    if not better:
        return " None ends clearly above the baseline's best, which is the most that early stopping gives."
    named = [
        f"{method.name} by {numbers.points(f'stopping/{method.name}', method.stopping.value)} points"
        for method in better[:MOST_NAMED]
    ]
    return f" Ends clearly above the baseline's best, which is the most that early stopping gives: {listed(named)}."


def _more_seeds(compared: Sequence[Comparison]) -> str:
    least = min(method.less.n for method in compared)
    return f"Train baseline and methods with more common seeds ({least} now): `overfit-lab train RECIPE --seeds 5`."


REGISTER = {"cures": Question(find, place=0, over="setting")}
