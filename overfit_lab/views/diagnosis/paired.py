"""Whether the drop is more than the draw of test samples: the same ones, attacked at the best epoch and at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from overfit_lab.records import layout
from overfit_lab.records.naming import attack_title
from overfit_lab.records.per_run import once_per_run
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject, Verdict
from overfit_lab.views.diagnosis.over_seeds import within
from overfit_lab.views.diagnosis.words import Numbers

if TYPE_CHECKING:
    from overfit_lab.evaluation.outcome import Outcome

NAME = re.compile(r"(?P<attack>.+)-test-\d+-(?P<epoch>\d+)\.npz")
OWN = ("autoattack", "pgd")
"""Attacks on the model itself, the strongest first; what is made against another model is passed over."""


@dataclass(frozen=True)
class Paired:
    """Outcomes of the same samples at two epochs.

    Args:
        attack: its name.
        n: samples.
        epoch: the first of the two; the second is the last epoch evaluated.
        lost: samples that are right at the first and wrong at the second.
        gained: the other way.
    """

    attack: str
    n: int
    epoch: int
    lost: int
    gained: int

    @property
    def drop(self) -> tuple[float, float]:
        """Difference of the two accuracies and its standard error, half a sample added to either count.

        Agresti and Min 2005: intervals of paired shares that cover for small counts too.
        """
        n, less, more = self.n + 2, self.lost - self.gained, self.lost + self.gained + 1
        return less / n, float(np.sqrt(more - less**2 / n)) / n


@once_per_run
def paired_in(run: Run) -> Paired | None:
    """The strongest attack of which complete outcomes on the same test samples are recorded at two epochs at least."""
    paths = sorted(layout.evaluations(run.folder).glob("*.npz"))
    if len(paths) < 2:
        return None
    from overfit_lab.evaluation.outcome import load_outcome

    epochs: dict[str, dict[int, Outcome]] = {}
    for path in paths:
        name = NAME.fullmatch(path.name)
        if name is not None and name["attack"].startswith(OWN):
            outcome = load_outcome(path)
            if outcome.complete:
                epochs.setdefault(name["attack"], {})[int(name["epoch"])] = outcome
    for attack in sorted(epochs, key=lambda name: (not name.startswith(OWN[0]), name)):
        first, last = min(epochs[attack]), max(epochs[attack])
        before, after = epochs[attack][first], epochs[attack][last]
        if first < last and np.array_equal(before.index, after.index):
            lost, gained = before.robust & ~after.robust, after.robust & ~before.robust
            return Paired(attack, len(before), first, int(lost.sum()), int(gained.sum()))
    return None


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes where the difference is clear of the draw of samples and counts; None without outcomes at two epochs."""
    pairs = {run: pair for run in subject.runs if (pair := paired_in(run)) is not None}
    if not pairs:
        return None
    numbers, found = Numbers(), list(pairs.values())
    lost, gained = (float(np.mean([getattr(pair, key) / pair.n for pair in found])) for key in ("lost", "gained"))
    drop = within([pair.drop[0] for pair in found], [pair.drop[1] for pair in found])
    attacks = " / ".join(sorted({attack_title(pair.attack) for pair in found}))
    epochs = sorted({pair.epoch for pair in found})
    at = f"epoch {numbers.plain('epoch', epochs[0])}" if len(epochs) == 1 else "the earlier checkpoint"
    by = "by the draw of samples" + (", or the spread over seeds where that is more" if len(found) > 1 else "")
    over = f" (means over {numbers.plain('n_seeds', len(found))} seeds)" if len(found) > 1 else ""
    text = (
        f"Of the same {numbers.plain('n', min(pair.n for pair in found))} test samples under {attacks}, "
        f"{numbers.percent('lost', lost)} are right at {at} and wrong at the end, {numbers.percent('gained', gained)} "
        f"the other way{over}: a drop of {numbers.points('paired', drop.value)} points (95% interval "
        f"{numbers.points('paired_low', drop.low)} to {numbers.points('paired_high', drop.high)}, {by}), with "
        f"the luck of the epoch that was chosen."
    )
    verdict: Verdict = "no" if drop.high < subject.threshold else "not enough evidence"
    if drop.low > 0 and drop.value >= subject.threshold:
        verdict = "yes"
    return Finding("paired", subject.name, verdict, text, numbers, "overview", tuple(run.name for run in pairs))


REGISTER = {"paired": Question(find, place=11)}
