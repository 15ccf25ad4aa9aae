"""Fig. B.3 of committed runs."""

import json
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from reference_records import Entry, arrays, caption, legend_names, of, table, titles

MODES = {"hard": "hard labels", "sglr": "SGLR"}
WIDTH = 0.05


def measured(folder, column):
    """Final: the last kept. Best: the kept one nearest to the best, between the same decays."""
    kept = sorted(int(path.stem[-4:]) for path in (folder / "arrays").glob("confidence-*.npz"))
    if column == "final":
        return kept[-1]
    best = table([folder], "evaluation", "acc_adv", "test", "adversarial").iloc[:, 0].idxmax()
    edges = [0, *json.loads((folder / "run.json").read_text())["decay_epochs"], 10**6]
    low, high = next(pair for pair in pairwise(edges) if pair[0] < best <= pair[1])
    return min((e for e in kept if low < e <= high), key=lambda e: abs(e - best))


def heights(values):
    """Density by counting, bin by bin; the last bin holds 1 itself."""
    edges = np.linspace(0, 1, 21)
    inside = [(values >= a) & ((values < b) | ((b == 1) & (values == 1))) for a, b in pairwise(edges)]
    return np.array([part.mean() / WIDTH for part in inside])


def check(figure, folders):
    places = [(i, c) for i in ("clean", "adversarial") for c in ("best", "final")]
    assert titles(figure) == [
        f"({letter}) {i} test images, {c} epoch" for letter, (i, c) in zip("abcd", places, strict=True)
    ]
    assert legend_names(figure) == list(MODES.values())
    assert [figure.axes[i].get_ylabel() for i in (0, 2)] == ["density", "density"]
    assert [figure.axes[i].get_xlabel() for i in (2, 3)] == ["probability of the labelled class"] * 2
    prefix = folders[0].name.partition("hard")[0]
    for axes, (inputs, column) in zip(figure.axes, places, strict=True):
        steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        for i, mode in enumerate(MODES):
            runs = of(folders, f"{prefix}{mode}-")
            found = [arrays(run, "confidence", measured(run, column))[f"label-prob-test-{inputs}"] for run in runs]
            densities = np.stack([heights(values.astype(float)) for values in found])
            mean, band = (patch.get_data() for patch in steps[2 * i : 2 * i + 2])
            np.testing.assert_allclose(mean.values, densities.mean(axis=0), atol=0.09)  # an edge in float32
            assert mean.values.sum() * WIDTH == pytest.approx(1)
            np.testing.assert_allclose(band.values, densities.max(axis=0), atol=0.09)
            np.testing.assert_allclose(band.baseline, densities.min(axis=0), atol=0.09)
            stem = axes.get_lines()[i].get_xdata()[0]
            assert stem == pytest.approx(np.mean([values.mean(dtype=float) for values in found]))
    best = table(of(folders, f"{prefix}hard-"), "evaluation", "acc_adv", "test", "adversarial")
    for k, folder in enumerate(of(folders, f"{prefix}hard-")):
        at, wanted = measured(folder, "best"), best.iloc[:, k].idxmax()
        assert (f"{at}" if at == wanted else f"{at} ({wanted})") in caption(figure)


ENTRIES = [Entry("figb3", [f"{name}-{mode}-seed*" for mode in MODES], check) for name in ("cifar10-small", "digits")]
