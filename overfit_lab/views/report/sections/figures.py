"""The figures of the registry, as they would be printed."""

from __future__ import annotations

from overfit_lab.views.report.material import Material
from overfit_lab.views.report.rendering import render
from overfit_lab.views.report.section import Part, Section


def build(material: Material) -> Part:
    """Every figure that can be drawn of these runs, and a line on each that cannot."""
    drawn = [drawing for drawing in material.drawings if drawing.image]
    absent = list(dict.fromkeys((drawing.name, drawing.missing) for drawing in material.drawings if drawing.missing))
    return Part(render("figures.html", drawn=drawn, absent=absent, n_runs=len(material.runs)))


REGISTER = {"figures": Section("Figures", 60, build)}
