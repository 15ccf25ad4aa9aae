"""Where and with what the runs were made, as their records say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from overfit_lab.records.reader import Run
from overfit_lab.views.report.material import Material
from overfit_lab.views.report.rendering import render
from overfit_lab.views.report.section import Part, Section

KEYS = (
    "status",
    "seed",
    "started",
    "ended",
    "wall_seconds",
    "command",
    "git_revision",
    "device",
    "hardware",
    "compute",
    "n_parameters",
    "versions",
)
TITLES = {
    "wall_seconds": "wall time",
    "git_revision": "git revision",
    "n_parameters": "parameters",
    "started": "started (UTC)",
    "ended": "ended (UTC)",
}


def build(material: Material) -> Part:
    """What all runs have in common, once; a table of the rest, a row a run."""
    found = {run: facts(run) for run in material.runs}
    keys = list(dict.fromkeys(key for own in found.values() for key in own))
    values = {key: [own.get(key, "–") for own in found.values()] for key in keys}
    shared = [(key, given[0]) for key, given in values.items() if len(set(given)) == 1]
    apart = [key for key, given in values.items() if len(set(given)) > 1]
    rows = [(material.names[run], [own.get(key, "–") for key in apart]) for run, own in found.items()]
    return Part(render("environment.html", shared=shared, apart=apart, rows=rows, one=len(found) == 1))


def facts(run: Run) -> dict[str, str]:
    """What run.json says of where a run was made, as text by a title."""
    found: dict[str, str] = {}
    for key in KEYS:
        if key in run.info:
            value = run.info[key]
            parts = value if isinstance(value, Mapping) else {"": value}
            for name, part in parts.items():
                title = f"{name} version" if key == "versions" else str(name).replace("_", " ")
                found[title or TITLES.get(key, key)] = _text(key, part)
    return found


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if key == "wall_seconds" and isinstance(value, int | float) and math.isfinite(value):
        hours, rest = divmod(round(value), 3600)
        return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    if key in ("started", "ended"):
        return str(value).replace("T", " ").removesuffix("+00:00")
    return f"{value:,}" if key == "n_parameters" and isinstance(value, int) else str(value)


REGISTER = {"environment": Section("Environment", 80, build)}
