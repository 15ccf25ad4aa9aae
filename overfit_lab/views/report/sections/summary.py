"""Overview: the setting, a tile of numbers for each group, and remarks on runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from overfit_lab.errors import OverfitLabError
from overfit_lab.records.failures import failures_in
from overfit_lab.records.reader import Run
from overfit_lab.records.status import COMPLETE, ended_at
from overfit_lab.records.summary import summarise_run
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.report.looks import PageLook, page_looks
from overfit_lab.views.report.material import Group, Material
from overfit_lab.views.report.rendering import render
from overfit_lab.views.report.section import Part, Section

PROBING = "overfit-lab probe RUN --metric gradient-norm,calibration,confidence --checkpoint all"


@dataclass(frozen=True)
class Tile:
    """One group at a glance: texts of its numbers, means over seeds."""

    title: str
    look: PageLook
    measure: str
    best: str
    final: str
    diff: str
    detail: str


def build(material: Material) -> Part:
    """One sentence on the setting, a tile a group, and the remarks on runs."""
    looks = page_looks([group.key for group in material.groups])
    tiles = [_tile(group, look) for group, look in zip(material.groups, looks, strict=True)]
    n = len(material.runs)
    return Part(
        render(
            "summary.html",
            setting=caption(material.runs, shows="mean"),
            n_runs=f"{n} run" if n == 1 else f"{n} runs",
            tiles=tiles,
            remarks=[f"{material.names[run]}: {text}" for run in material.runs for text in remarks(run)],
        )
    )


def _tile(group: Group, look: PageLook) -> Tile:
    seeds = "one seed" if len(group.runs) == 1 else f"mean of {len(group.runs)} seeds"
    try:
        rows = [summarise_run(run, group.weights) for run in group.runs]
    except OverfitLabError:
        return Tile(group.title, look, "not evaluated", "–", "–", "–", seeds)
    measure = "robust" if rows[0]["chosen_on"].startswith("acc_adv") else "clean"
    best, final, diff = (_mean([row[f"{measure}_{end}"] for row in rows]) for end in ("best", "final", "diff"))
    epochs = sorted({row["best_epoch"] for row in rows})
    best_at = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    return Tile(group.title, look, f"{measure} test accuracy", best, final, diff, f"best at {best_at}; {seeds}")


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.1f}" if known else "–"


def remarks(run: Run) -> list[str]:
    """Remarks on a run: that it did not complete, was imported, lacks probes, had some that failed, or no attack."""
    notes = []
    status = run.status
    if run.is_imported:
        notes.append("imported weights; how they were trained is not known, so there is one checkpoint and no best.")
    elif status not in COMPLETE:
        notes.append(f"{ended_at(run)}.")
    probes = {str(name).partition("@")[0] for name in run.records["probe"].unique()}
    if not probes:
        notes.append("holds no records yet.")
    elif not probes - {"training", "evaluation", "robustness"}:
        notes.append(f"no probes; `{PROBING}` records some.")
    notes += [f"{clause}." for clause in failures_in(run)]
    if run.config.objective.name == "standard" and not run.is_imported:
        notes.append("standard training, without an attack.")
    return notes


REGISTER = {"summary": Section("Summary", 10, build)}
