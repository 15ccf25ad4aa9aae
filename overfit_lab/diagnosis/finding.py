"""The nouns of a diagnosis: findings with a verdict, a sentence, the numbers in it and the figure that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from overfit_lab.runs.reader import Run

Verdict = Literal["yes", "no", "not enough evidence"]


@dataclass(frozen=True)
class Subject:
    """What a finding is about: the seeds of one experiment, or everything that was given.

    Args:
        name: as a reader tells it from others, plain text.
        runs: its runs, one a seed, in order of their seeds.
    """

    name: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Finding:
    """One answer.

    Args:
        name: of the question, as registered: ``onset``, ``memorisation``.
        subject: the name of what it is about.
        verdict: yes, no, or not enough evidence.
        sentence: the answer as a reader gets it, with its numbers; plain text.
        numbers: what is in the sentence, unrounded, by name; shares as fractions, epochs as epochs.
        figure: the registered figure that shows it, or None.
        runs: names of the runs that figure is to be drawn of.
        advice: what to try next, where the finding suggests something; else empty.
    """

    name: str
    subject: str
    verdict: Verdict
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    figure: str | None = None
    runs: tuple[str, ...] = ()
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found.

    Args:
        subjects: what was looked at, each experiment once.
        findings: by subject, in the order in which they are to be read; those about all subjects together last.
    """

    subjects: tuple[Subject, ...]
    findings: tuple[Finding, ...]

    def of(self, subject: str) -> list[Finding]:
        """The findings about one subject."""
        return [finding for finding in self.findings if finding.subject == subject]
