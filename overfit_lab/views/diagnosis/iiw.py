"""Whether the information in the weights grows with the overfitting."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.views.diagnosis.finding import Finding, Question, Subject
from overfit_lab.views.diagnosis.grown import Watched, grown

WATCHED = Watched(
    "iiw",
    "Information in the weights (IIW, nats, adversarial training images)",
    "iiw",
    (("iiw", "iiw", "train", "adversarial"), ("iiw", "iiw-expected-fisher", "train", "adversarial")),
    "fig1",
)


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """IIW of Wang et al. 2022 as SGLR (Yu et al. 2024, Fig. 1b) has it beside the gap."""
    return grown(subject, before, WATCHED)


REGISTER = {"iiw": Question(find, place=40)}
