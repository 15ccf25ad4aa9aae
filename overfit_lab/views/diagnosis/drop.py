"""How much accuracy is lost between the best and the final checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overfit_lab.records.per_run import once_per_run
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import best_epoch
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject, Verdict
from overfit_lab.views.diagnosis.onset import is_judged, mean_drop
from overfit_lab.views.diagnosis.phases_of import phases_of
from overfit_lab.views.diagnosis.readings import evaluations_of
from overfit_lab.views.diagnosis.words import Numbers


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes where the drop is clear of noise and large enough to count; no where the interval excludes such a drop."""
    ends = {run: pair for run in subject.runs if (pair := ends_of(run)) is not None}
    if not ends:
        return None
    numbers = Numbers()
    runs = tuple(run.name for run in ends)
    kind = evaluations_of(next(iter(ends))).kind
    best, final = (float(np.mean([pair[i] for pair in ends.values()])) for i in (0, 1))
    raw = [pair[0] - pair[1] for pair in ends.values()]
    spread = f" ± {numbers.points('spread', float(np.std(raw, ddof=1)))}" if len(raw) > 1 else ""
    over = f"mean ± standard deviation over {numbers.plain('n_seeds', len(ends))} seeds; " if len(raw) > 1 else ""
    chosen = sorted({pair[2] for pair in ends.values()})
    text = (
        f"{kind.capitalize()} test accuracy ends at {numbers.percent('final', final)}, "
        f"{numbers.points('raw', best - final)}{spread} points below its best of {numbers.percent('best', best)} "
        f"({over}best chosen by {' / '.join(chosen)})"
    )
    judged = [run for run in ends if is_judged(run)]
    if not judged:
        text += "; too few evaluations to correct for the luck of a maximum."
        return Finding("drop", subject.name, "not enough evidence", text, numbers, "overview", runs)
    drop = mean_drop(judged)
    text += (
        f"; less the luck of a maximum the drop is {numbers.points('drop', drop.value)} points "
        f"(95% interval {numbers.points('drop_low', drop.low)} to {numbers.points('drop_high', drop.high)})."
    )
    verdict: Verdict = "no" if drop.high < subject.threshold else "not enough evidence"
    few = any(phases_of(run, subject.threshold).few is not None for run in judged)
    if drop.low > 0 and drop.value >= subject.threshold and not few:
        verdict = "yes"
    return Finding("drop", subject.name, verdict, text, numbers, "overview", runs)


@once_per_run
def ends_of(run: Run) -> tuple[float, float, str] | None:
    """Test accuracy at the best and at the last evaluation, and what chose the best; None without evaluations."""
    seen = evaluations_of(run)
    if not len(seen.epochs):
        return None
    best = best_epoch(run)
    at_best = run.value_at(best.epoch, "evaluation", best.metric, "test", best.inputs)
    return None if at_best is None else (at_best, float(seen.test[-1]), f"{best.what} accuracy on {best.split}")


REGISTER = {"drop": Question(find, place=10)}
