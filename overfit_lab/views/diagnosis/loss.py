"""How much accuracy is lost between the best and the final checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from overfit_lab.records.reader import Run
from overfit_lab.records.summary import best_epoch
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject, Verdict
from overfit_lab.views.diagnosis.onset import UNSEEN, fall_of
from overfit_lab.views.diagnosis.over_seeds import within
from overfit_lab.views.diagnosis.readings import CACHED, evaluations_of
from overfit_lab.views.diagnosis.words import Numbers

LEAST_LOSS = 0.01
"""A loss below one percentage point, after correction, is not called one."""


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes where the corrected loss is clear of noise and at least ``LEAST_LOSS``; no where ``UNSEEN`` is excluded."""
    ends = {run: pair for run in subject.runs if (pair := ends_of(run)) is not None}
    if not ends:
        return None
    numbers = Numbers()
    runs = tuple(run.name for run in ends)
    kind = evaluations_of(next(iter(ends))).kind
    best, final = (float(np.mean([pair[i] for pair in ends.values()])) for i in (0, 1))
    losses = [pair[0] - pair[1] for pair in ends.values()]
    spread = f" ± {numbers.points('spread', float(np.std(losses, ddof=1)))}" if len(losses) > 1 else ""
    over = f"mean ± standard deviation over {numbers.plain('n_seeds', len(ends))} seeds; " if len(losses) > 1 else ""
    chosen = sorted({pair[2] for pair in ends.values()})
    text = (
        f"{kind.capitalize()} test accuracy ends at {numbers.percent('final', final)}, "
        f"{numbers.points('loss', best - final)}{spread} points below its best of {numbers.percent('best', best)} "
        f"({over}best chosen by {' / '.join(chosen)})"
    )
    falls = [fall for run in ends if (fall := fall_of(run)) is not None]
    if not falls:
        text += "; too few evaluations to correct for the luck of a maximum."
        return Finding("loss", subject.name, "not enough evidence", text, numbers, "overview", runs)
    mean = within([fall.loss for fall in falls], [fall.stderr for fall in falls])
    text += (
        f"; corrected for the luck of a maximum the loss is {numbers.points('corrected', mean.value)} points "
        f"(95% interval {numbers.points('corrected_low', mean.low)} to {numbers.points('corrected_high', mean.high)})."
    )
    most = within([fall.drop for fall in falls], [fall.stderr for fall in falls]).high
    verdict: Verdict = "no" if most <= UNSEEN else "not enough evidence"
    if mean.low > 0 and mean.value >= LEAST_LOSS:
        verdict = "yes"
    return Finding("loss", subject.name, verdict, text, numbers, "overview", runs)


@lru_cache(maxsize=CACHED)
def ends_of(run: Run) -> tuple[float, float, str] | None:
    """Test accuracy at the best and at the last evaluation, and what chose the best; None without evaluations."""
    seen = evaluations_of(run)
    if not len(seen.epochs):
        return None
    best = best_epoch(run)
    at_best = run.value_at(best.epoch, "evaluation", best.metric, "test", best.inputs)
    return None if at_best is None else (at_best, float(seen.test[-1]), f"{best.what} accuracy on {best.split}")


REGISTER = {"loss": Question(find, place=10)}
