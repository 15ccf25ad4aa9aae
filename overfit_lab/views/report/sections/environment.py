"""Hardware, versions and times of the runs, as recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from overfit_lab.errors import RunFolderError
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
    """A list of what all runs share, and a table of the rest, a row a run."""
    environments = {run: facts(run) for run in material.runs}
    keys = list(dict.fromkeys(key for info in environments.values() for key in info))
    values = {key: [info.get(key, "–") for info in environments.values()] for key in keys}
    shared = [(key, texts[0]) for key, texts in values.items() if len(set(texts)) == 1]
    apart = [key for key, texts in values.items() if len(set(texts)) > 1]
    rows = [(material.names[run], [info.get(key, "–") for key in apart]) for run, info in environments.items()]
    return Part(render("environment.html", shared=shared, apart=apart, rows=rows, one=len(environments) == 1))


def facts(run: Run) -> dict[str, str]:
    """A run's hardware, versions and times from run.json, and what is kept of samples, as text by title."""
    texts: dict[str, str] = {}
    for key in KEYS:
        if key in run.info:
            value = run.info[key]
            for name, part in (value if isinstance(value, Mapping) else {"": value}).items():
                title = f"{name} version" if key == "versions" else str(name).replace("_", " ")
                texts[title or TITLES.get(key, key)] = _text(key, part)
    if run.dynamics:
        texts["dynamics of samples"] = "; ".join(_dynamics(run, view) for view in run.dynamics)
    return texts


def _dynamics(run: Run, view: str) -> str:
    """What is kept of each training sample, such as ``adversarial full, 100 epochs``."""
    try:
        found = run.dynamics[view]
    except RunFolderError:
        return f"{view} damaged"
    n = len(found.epochs) if found.epochs else found.running_epoch
    return f"{view} {found.level}, {n} epoch{'' if n == 1 else 's'}"


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
