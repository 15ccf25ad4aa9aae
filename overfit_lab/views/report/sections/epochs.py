"""Epoch by epoch: the map of features, the reliability diagram and the confidence histogram, with one slider."""

from __future__ import annotations

from typing import Any

import numpy as np

from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import best_epoch
from overfit_lab.views.figures.fig5 import VIEWS
from overfit_lab.views.figures.series import decays
from overfit_lab.views.report.material import Material
from overfit_lab.views.report.rendering import render
from overfit_lab.views.report.section import Part, Section

MOST_POINTS = 1000
"""Most points of a map, the first ones; more cannot be distinguished at the size of a panel."""
GRID = 1000
"""Places a map's coordinates are rounded to, along each axis."""
N_BINS = 20
"""Bins of the histogram, of equal width on [0, 1]."""
OPEN = 3
"""Runs whose pictures are open when the page is; the others open on request."""
INPUTS = ("clean", "adversarial")


def build(material: Material) -> Part:
    """A slider for each run with arrays; a line on each run without."""
    by_run = {run: pictures(run) for run in material.runs}
    shown = [
        (f"epochs-{i}", material.names[run], pics) for i, (run, pics) in enumerate(by_run.items()) if pics["epochs"]
    ]
    absent = [material.names[run] for run, pics in by_run.items() if not pics["epochs"]]
    single = [name for _, name, pics in shown if len(pics["maps"]) == 1 < len(pics["epochs"])]  # others have several
    return Part(
        render("epochs.html", shown=shown, absent=absent, n_open=OPEN, single=single),
        {anchor: {"name": name, **pics} for anchor, name, pics in shown},
    )


def pictures(run: Run) -> dict[str, Any]:
    """Data of a run's slider: its measured epochs, and maps, diagrams and histograms by epoch."""
    maps, view = _maps(run)
    binned = [(epoch, _diagram(run, epoch, arrays)) for epoch, arrays in _arrays(run, "calibration")]
    counted = [(epoch, _histogram(arrays)) for epoch, arrays in _arrays(run, "confidence")]
    diagrams, histograms = ([{"epoch": epoch, **part} for epoch, part in parts if part] for parts in (binned, counted))
    epochs = sorted({int(part["epoch"]) for parts in (maps, diagrams, histograms) for part in parts})
    return {
        "epochs": epochs,
        "best": _best(run),
        "decays": decays([run]),
        "grid": GRID,
        "map_of": view,
        "maps": maps,
        "diagrams": diagrams,
        "histograms": histograms,
    }


def _best(run: Run) -> int | None:
    try:
        return best_epoch(run).epoch
    except RunFolderError:  # nothing was evaluated
        return None


def _arrays(run: Run, probe: str) -> list[tuple[int, dict[str, np.ndarray]]]:
    return [(epoch, run.arrays(probe, epoch)) for epoch in run.epochs_with_arrays(probe)]


def _maps(run: Run) -> tuple[list[dict[str, Any]], str]:
    """The maps of the first of the figures' views that the run has, all on one scale, and the view in words."""
    recorded = _arrays(run, "features")
    for split, inputs in VIEWS:
        key = f"{split}-{inputs}"
        chosen = [(epoch, arrays) for epoch, arrays in recorded if f"tsne-{key}" in arrays and f"label-{key}" in arrays]
        if chosen:
            scaled = to_grid([arrays[f"tsne-{key}"][:MOST_POINTS].astype(np.float64) for _, arrays in chosen])
            return [
                {"epoch": epoch, **_map(run, epoch, split, inputs, arrays, xy)}
                for (epoch, arrays), xy in zip(chosen, scaled, strict=True)
            ], f"{inputs} {split} images"
    return [], ""


def _map(
    run: Run, epoch: int, split: str, inputs: str, arrays: dict[str, np.ndarray], xy: np.ndarray
) -> dict[str, Any]:
    key = f"{split}-{inputs}"
    labels = arrays[f"label-{key}"][: len(xy)]
    predicted = arrays.get(f"pred-{key}", labels)[: len(xy)]
    score = run.value_at(epoch, "features", "silhouette", split, inputs)
    return {
        "x": xy[:, 0],
        "y": xy[:, 1],
        "labels": labels.astype(int),
        "wrong": np.flatnonzero(predicted != labels),
        "silhouette": None if score is None else f"{score:.2f}",
    }


def to_grid(maps: list[np.ndarray]) -> list[np.ndarray]:
    """Maps (n, 2) on one scale of whole numbers from 0 to :data:`GRID`, so that points can be followed from map to map.

    Both axes have the same scale. Points that are not finite are put in the corner.
    """
    finite = [part[np.isfinite(part).all(1)] for part in maps]
    together = np.concatenate(finite) if sum(map(len, finite)) else np.zeros((1, 2))
    low, high = together.min(0), together.max(0)
    span = max(float((high - low).max()), 1e-12)
    shift = (span - (high - low)) / 2
    scaled = [np.nan_to_num((part - low + shift) / span, nan=0, posinf=0, neginf=0) for part in maps]
    return [np.rint(np.clip(part, 0, 1) * GRID).astype(int) for part in scaled]


def _diagram(run: Run, epoch: int, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Bins that hold samples: mean confidence and accuracy to a thousandth, and how many; ECE as text."""
    by_inputs: dict[str, Any] = {}
    for inputs in INPUTS:
        table = arrays.get(f"reliability-test-{inputs}")
        if table is not None:
            used = table[table[:, 2] > 0]
            ece = run.value_at(epoch, "calibration", "ece", "test", inputs)
            by_inputs[inputs] = {
                "bins": [[round(float(conf), 3), round(float(acc), 3), int(count)] for conf, acc, count in used],
                "ece": None if ece is None else f"{ece:.3f}",
            }
    return by_inputs


def _histogram(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """How many samples have the probability of their labelled class in each bin."""
    by_inputs: dict[str, Any] = {}
    for inputs in INPUTS:
        values = arrays.get(f"label-prob-test-{inputs}")
        if values is not None:
            by_inputs[inputs] = np.histogram(values[np.isfinite(values)], bins=N_BINS, range=(0, 1))[0]
    return by_inputs


REGISTER = {"epochs": Section("Epoch by epoch", 50, build)}
