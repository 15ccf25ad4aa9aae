"""Differences between the runs' configurations, and each configuration in full."""

from __future__ import annotations

from typing import Any

from overfit_lab.config import to_dict, to_yaml
from overfit_lab.records.identity import flatten
from overfit_lab.views.report.material import Material
from overfit_lab.views.report.rendering import render
from overfit_lab.views.report.section import Part, Section


def build(material: Material) -> Part:
    """A table of the keys in which runs differ, a column a run; below it every configuration as it was written."""
    settings = [flatten(to_dict(run.config)) for run in material.runs]
    keys = dict.fromkeys(key for flat in settings for key in flat)
    differing = [key for key in keys if any(flat.get(key, ABSENT) != settings[0].get(key, ABSENT) for flat in settings)]
    rows = [(key, [_text(flat.get(key, ABSENT)) for flat in settings]) for key in differing]
    full = [(material.names[run], to_yaml(run.config)) for run in material.runs]
    return Part(render("configurations.html", rows=rows, full=full))


ABSENT = object()
"""Stands for a key that a run's configuration does not have."""


def _text(value: Any) -> str:
    return "–" if value is ABSENT else "none" if value is None else str(value)


REGISTER = {"configurations": Section("Configurations", 70, build)}
