"""A diagnosis as text for a terminal, as Markdown, and as JSON for programs."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from typing import Any

from overfit_lab.files.escape import as_markdown_code, for_markdown, for_terminal, markdown_sentence
from overfit_lab.views.diagnosis.finding import Diagnosis, Finding

WIDTH = 100
"""Columns of text."""
MOST_FOLDERS = 6
"""Most run folders that a command names; more become RUN..."""


def as_text(diagnosis: Diagnosis) -> str:
    """Subject by subject: verdict and name, the sentence, the command of its figure."""
    lines: list[str] = []
    for about, findings in by_subject(diagnosis):
        title = for_terminal(about)
        lines += [title, "=" * min(WIDTH, len(title))]
        for finding in findings:
            head = for_terminal(f"{finding.name}: {finding.verdict}")
            lines += [head, *_wrapped(finding.sentence)]
            command = figure_command(diagnosis, finding)
            lines += [for_terminal(f"  figure: {command}")] if command else []
            lines.append("")
    for note in diagnosis.notes:
        lines += [*_wrapped(note, ""), ""]
    return "\n".join(lines).rstrip() + "\n"


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    """Indented lines; hyphens are not broken at, so that a command can be copied."""
    return textwrap.wrap(
        for_terminal(text), WIDTH - 2, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def as_markdown(diagnosis: Diagnosis) -> str:
    """A heading a subject and an item a finding."""
    lines = ["# Diagnosis", ""]
    for about, findings in by_subject(diagnosis):
        lines += [f"## {for_markdown(about)}", ""]
        for finding in findings:
            command = figure_command(diagnosis, finding)
            figure = f" Figure: {as_markdown_code(command)}." if command else ""
            head = for_markdown(f"{finding.name}: {finding.verdict}.")
            lines.append(f"- **{head}** {markdown_sentence(finding.sentence)}{figure}")
        lines.append("")
    for note in diagnosis.notes:
        lines += [markdown_sentence(note), ""]
    return "\n".join(lines).rstrip() + "\n"


def as_json(diagnosis: Diagnosis) -> str:
    """Everything, numbers unrounded; what is no finite number is null."""
    subjects = [
        {"name": subject.name, "runs": [{"name": run.name, "folder": str(run.folder)} for run in subject.runs]}
        for subject in diagnosis.subjects
    ]
    findings = [_plain(diagnosis, finding) for finding in diagnosis.findings]
    content = {"subjects": subjects, "findings": findings, "notes": list(diagnosis.notes)}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Diagnosis], str]] = {"text": as_text, "json": as_json, "markdown": as_markdown}
SUFFIXES = {".txt": "text", ".json": "json", ".md": "markdown"}


def by_subject(diagnosis: Diagnosis) -> list[tuple[str, list[Finding]]]:
    """Subjects in order, each with its findings."""
    names = dict.fromkeys(finding.subject for finding in diagnosis.findings)
    return [(name, diagnosis.of(name)) for name in names]


def figure_command(diagnosis: Diagnosis, finding: Finding) -> str:
    """The command that draws a finding's figure; empty if it has none."""
    if finding.figure is None:
        return ""
    return f"overfit-lab figure {finding.figure} {' '.join(_folders(diagnosis, finding.runs))}"


def _folders(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    folders = {run.name: str(run.folder) for subject in diagnosis.subjects for run in subject.runs}
    return [quote(folders.get(name, name)) for name in names] if 0 < len(names) <= MOST_FOLDERS else ["RUN..."]


def _plain(diagnosis: Diagnosis, finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "subject": finding.subject,
        "verdict": finding.verdict,
        "sentence": finding.sentence,
        "numbers": {name: value if math.isfinite(value) else None for name, value in finding.numbers.items()},
        "figure": finding.figure,
        "figure_command": figure_command(diagnosis, finding) or None,
        "runs": list(finding.runs),
        "advice": finding.advice,
        "metric": finding.metric,
    }
