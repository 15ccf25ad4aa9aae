"""Whether the gradient norm grows with the overfitting."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.views.diagnosis.finding import Finding, Question, Subject
from overfit_lab.views.diagnosis.grown import Watched, grown

WATCHED = Watched(
    "gradient-norm",
    "The gradient norm on adversarial training images",
    "gradient-norm",
    (
        ("gradient-norm", "full", "train", "adversarial"),
        ("gradient-norm", "minibatch", "train", "adversarial"),
        ("training", "grad_norm_minibatch", "train", ""),
    ),
    "fig1",
)


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """The norm of the mean gradient, else the mean norm of mini-batches (SGLR, Yu et al. 2024, Fig. 1a)."""
    return grown(subject, before, WATCHED)


REGISTER = {"gradient-norm": Question(find, place=30)}
