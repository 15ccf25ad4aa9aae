"""The findings of the diagnosis, each with its verdict, its sentence and its figure."""

from __future__ import annotations

from overfit_lab.views.report.material import Material
from overfit_lab.views.report.rendering import render
from overfit_lab.views.report.section import Part, Section

ABBREVIATIONS = {"iiw": "IIW"}


def build(material: Material) -> Part:
    """The findings by subject in the order of the diagnosis; those about all subjects last."""
    diagnosis = material.diagnosis
    if isinstance(diagnosis, str):
        return Part(render("diagnosis.html", subjects=[], note=diagnosis))
    order = dict.fromkeys(
        [*(subject.name for subject in diagnosis.subjects), *(finding.subject for finding in diagnosis.findings)]
    )
    subjects = [
        (name, [(f, question(f.name), material.anchor_of(f.figure, f.runs)) for f in diagnosis.of(name)])
        for name in order
    ]
    return Part(render("diagnosis.html", subjects=[pair for pair in subjects if pair[1]], note=""))


def question(name: str) -> str:
    """A question's name as a heading.

    Example:
        >>> question("gradient-norm"), question("iiw")
        ('Gradient norm', 'IIW')
    """
    return ABBREVIATIONS.get(name) or name.replace("-", " ").capitalize()


REGISTER = {"diagnosis": Section("Diagnosis", 20, build)}
