"""Runs in, a diagnosis out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overfit_lab.config.catalog import FINDINGS
from overfit_lab.errors import RunFolderError
from overfit_lab.probes.metrics.phases import THRESHOLD
from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import Diagnosis, Finding, Question, Subject, check_threshold
from overfit_lab.views.diagnosis.subject import ALL, settings_of, subjects_of


def diagnose(runs: Sequence[Run], threshold: float = THRESHOLD) -> Diagnosis:
    """What the records of some runs say about robust overfitting.

    Args:
        runs: any runs; seeds of one experiment are judged together.
        threshold: drop of accuracy that counts as overfitting, in (0, 1).

    Raises:
        RunFolderError: no runs, or a run's files are damaged.
        ConfigError: no such threshold.

    Cost: no pass of a model; below 1 s a run of 200 evaluations.
    """
    if not runs:
        raise RunFolderError("no runs to diagnose")
    check_threshold(threshold)
    subjects = [replace(subject, threshold=threshold) for subject in subjects_of(runs)]
    everything = Subject(ALL, tuple(run for subject in subjects for run in subject.runs), threshold)
    findings: list[Finding] = []
    for over, about in (("experiment", subjects), ("setting", settings_of(subjects)), ("all", [everything])):
        for subject in about:
            for question in questions(over):
                before = [known for known in findings if over == "all" or known.subject == subject.name]
                answer = question.find(subject, before)
                if answer is not None:
                    findings.append(answer)
    return Diagnosis(tuple(subjects), tuple(findings), unrepeated(runs)[1])


def questions(over: str) -> list[Question]:
    """The registered questions about one kind of subject, in the order in which their findings are read."""
    known = [(FINDINGS[name].place, name, FINDINGS[name]) for name in FINDINGS]
    return [question for _, _, question in sorted(known, key=lambda part: part[:2]) if question.over == over]
