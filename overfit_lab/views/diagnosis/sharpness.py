"""Whether the loss grows sharper in the weights with the overfitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overfit_lab.views.diagnosis.finding import Finding, Question, Subject
from overfit_lab.views.diagnosis.grown import Watched, grown
from overfit_lab.views.diagnosis.words import plain

ADVERSARIAL = ("train", "adversarial")
TRACE = Watched(
    "sharpness",
    "The trace of the Hessian on adversarial training images",
    "hessian",
    (("hessian", "trace", *ADVERSARIAL), ("hessian", "trace-pyhessian", *ADVERSARIAL)),
    "figb7",
)
EIGENVALUE = Watched(
    "sharpness",
    "The top eigenvalue of the Hessian on adversarial training images",
    "hessian",
    (("hessian", "top_eigenvalue", *ADVERSARIAL),),
    "figb7",
)


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """The trace's growth decides, or the top eigenvalue's where there is no trace; both are said (SGLR, Fig. B.7)."""
    trace, top = (grown(subject, before, watched) for watched in (TRACE, EIGENVALUE))
    if trace is None or top is None:
        return None
    if "ratio" not in trace.numbers:
        return _drawn(subject, top if "ratio" in top.numbers else trace)
    if "ratio" not in top.numbers:
        return _drawn(subject, trace)
    numbers = {**trace.numbers, "top_ratio": top.numbers["ratio"]}
    text = f"{trace.sentence} The top eigenvalue goes to {plain(numbers['top_ratio'])} times its early value."
    return _drawn(subject, replace(trace, sentence=text, numbers=numbers))


def _drawn(subject: Subject, finding: Finding) -> Finding:
    """Leave out the figure, which shows the gradient norm too, where that was not recorded."""
    norms = [run for run in subject.runs if len(run.series("gradient-norm", "full", *ADVERSARIAL))]
    return finding if norms else replace(finding, figure=None)


REGISTER = {"sharpness": Question(find, place=50)}
