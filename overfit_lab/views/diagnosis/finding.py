"""The nouns of a diagnosis: findings with a verdict, a sentence, the numbers in it and the figure that shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from overfit_lab.errors import ConfigError
from overfit_lab.probes.metrics.phases import THRESHOLD
from overfit_lab.records.reader import Run

Verdict = Literal["yes", "no", "not enough evidence"]


def check_threshold(threshold: float) -> None:
    """Refuse a drop of accuracy that cannot count as overfitting.

    Raises:
        ConfigError: it is no share in (0, 1).
    """
    if not 0 < threshold < 1:
        raise ConfigError(f"least drop {100 * threshold:g} points; it lies above 0 and below 100")


@dataclass(frozen=True)
class Subject:
    """The runs that a finding is about: seeds of one experiment, or all runs.

    Args:
        name: unique, plain text.
        runs: its runs, one a seed, in order of their seeds.
        threshold: drop of accuracy that counts, in (0, 1).
    """

    name: str
    runs: tuple[Run, ...]
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Args:
        name: of the question, as registered: ``onset``, ``memorisation``.
        subject: the name of what it is about.
        verdict: yes, no, or not enough evidence.
        sentence: the answer as a reader gets it, with its numbers; plain text.
        numbers: those of the sentence by name, unrounded; shares are fractions.
        figure: the registered figure that shows it, or None.
        runs: names of the runs that figure is to be drawn of.
        advice: what to try next, where the finding suggests something; else empty.
        metric: the probe whose readings are missing, where that is why there is not enough evidence; else empty.
    """

    name: str
    subject: str
    verdict: Verdict
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    figure: str | None = None
    runs: tuple[str, ...] = ()
    advice: str = ""
    metric: str = ""


Find = Callable[[Subject, Sequence[Finding]], Finding | None]
"""Looks at a subject, knowing the findings before it about the same subject (about everything, for ``all``); None where
the question does not arise."""


@dataclass(frozen=True)
class Question:
    """A question that a file of this folder registers.

    Args:
        find: function that answers it.
        place: where its finding is read, from 0 on; equal places go by name.
        over: what a subject is: the seeds of an ``experiment``, the experiments of a ``setting`` (same data, model and
            threat model), or ``all`` runs.
    """

    find: Find
    place: int
    over: Literal["experiment", "setting", "all"] = "experiment"


@dataclass(frozen=True)
class Diagnosis:
    """All findings about some runs.

    Args:
        subjects: what was looked at, each experiment once.
        findings: by subject, in the order in which they are to be read; those about all subjects together last.
        notes: sentences on runs that were left out or stand alone, see
            :func:`overfit_lab.records.experiments.unrepeated`.
    """

    subjects: tuple[Subject, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def of(self, subject: str) -> list[Finding]:
        """The findings about one subject."""
        return [finding for finding in self.findings if finding.subject == subject]
