"""Whether probes failed while training went on."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.records.failures import failures_in
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes where a probe could not be measured in some run; no question where all could."""
    clauses: dict[str, list[str]] = {}
    for run in subject.runs:
        for clause in failures_in(run):
            clauses.setdefault(clause, []).append(run.name)
    if not clauses:
        return None
    text = "; ".join(f"{clause} in {', '.join(names)}" for clause, names in clauses.items())
    return Finding("failed", subject.name, "yes", f"Not all was measured: {text}.")


REGISTER = {"failed": Question(find, place=80)}
