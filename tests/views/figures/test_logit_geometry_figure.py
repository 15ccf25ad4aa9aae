"""The figure of logit geometry from synthetic runs with known numbers."""

import numpy as np
import pytest

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from raw_records import assert_draws, check_print, curves
from run_factory import EPOCHS, make_run

EPOCHS_MEASURED = np.arange(2, EPOCHS + 1, 2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / f"{labels}-{seed}", labels, seed) for labels in ("hard", "sglr") for seed in (0, 1)]


@pytest.fixture(scope="module")
def figure(runs):
    return FIGURES["logit-geometry"](runs)


def seeds(value):
    return np.array([[value(epoch, seed) for epoch in EPOCHS_MEASURED] for seed in (0, 1)])


def without(run, *words):
    """Leave out the records that have one of some words."""
    path = run.folder / "records.jsonl"
    rows = [row for row in path.read_text().splitlines() if not any(word in row for word in words)]
    path.write_text("\n".join(rows) + "\n")
    return Run.open(run.folder)


def test_gaps_over_epochs(figure):
    wanted = {0: seeds(lambda e, s: 1 + e / 20 + s), 1: seeds(lambda e, s: 8 + e / 10)}
    for panel, found in wanted.items():
        axes = figure.axes[panel]
        drawn = curves(axes)
        assert len(drawn) == 2
        for line in drawn:
            assert_draws(line, axes, EPOCHS_MEASURED, found)


def test_predicted_beside_measured(figure):
    axes = figure.axes[2]
    drawn = curves(axes)
    assert [line.get_label() for line in drawn] == ["predicted", "measured"] * 2
    for line in drawn[::2]:
        np.testing.assert_allclose(line.get_ydata(), 0.15 + EPOCHS_MEASURED / 1000)
        assert line.get_markerfacecolor() == "white"
    for line in drawn[1::2]:
        np.testing.assert_allclose(line.get_ydata(), 0.12 - EPOCHS_MEASURED / 1000 + 0.005)
        assert line.get_linewidth() > drawn[0].get_linewidth()
    assert 8 / 255 in [line.get_ydata()[0] for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]
    assert axes.get_ylim()[0] == 0


def test_samples_are_those_of_the_last_arrays_that_are_right_and_have_both(figure, runs):
    axes = figure.axes[3]
    for points, run in zip(axes.collections, (runs[0], runs[2]), strict=True):
        stored = np.load(next((run.folder / "arrays").glob("logit-geometry-*.npz")))["geometry-test-clean"]
        np.testing.assert_allclose(points.get_offsets(), stored[2:, 3:5])
    (diagonal,) = [line for line in axes.get_lines() if len(line.get_xdata()) == 2]
    assert diagonal.get_xydata()[:, 0].tolist() == diagonal.get_xydata()[:, 1].tolist()
    assert axes.get_xlim() == axes.get_ylim()


def test_labels_legend_and_caption(figure):
    titles = ["(a) logit gap", "(b) gradient gap", "(c) perturbation", "(d) sample by sample"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch"] * 3 + ["predicted perturbation (pixels)"]
    assert all(axes.get_ylabel() for axes in figure.axes)
    assert r"\|_1" in figure.axes[1].get_ylabel(), "l_1 is dual to the attack's l_inf"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hard labels", "SGLR"]
    caption = figure.get_supxlabel().replace("\n", " ")
    for part in ("clean test images, 60 a run", "mean of 2 seeds, band", "l_inf eps 8/255", "pixels of [0, 1]"):
        assert part in caption
    check_print(figure)


def test_the_dual_norm_of_an_l2_attack(tmp_path):
    run = make_run(tmp_path / "l2", attack={"norm": "l2", "eps": 0.5})
    assert r"\|_2" in FIGURES["logit-geometry"]([run]).axes[1].get_ylabel()


def test_without_a_search_only_the_prediction_is_drawn(tmp_path):
    run = without(make_run(tmp_path / "r"), '"measured"')
    path = next((run.folder / "arrays").glob("logit-geometry-*.npz"))
    np.savez(path, **{"geometry-test-clean": np.load(path)["geometry-test-clean"][:, :4]})
    radius, samples = FIGURES["logit-geometry"]([Run.open(run.folder)]).axes[2:]
    assert [line.get_label() for line in curves(radius)] == ["predicted"]
    assert [text.get_text() for text in samples.texts] == ["no sample with both perturbations"]


def test_settings_of_a_label_mode_are_drawn_apart(tmp_path):
    runs = [make_run(tmp_path / f"{rate}", rate=rate) for rate in (0.3, 0.6)]
    names = [line.get_label() for line in curves(FIGURES["logit-geometry"](runs).axes[0])]
    assert names == [f"hard labels ({rate} symmetric label noise)" for rate in ("30%", "60%")]


def test_misfits_are_refused(tmp_path):
    bare = make_run(tmp_path / "bare", probes=False)
    with pytest.raises(RunFolderError, match=r"logit-geometry: no logit-geometry logit_gap .* --metric logit-geometry"):
        FIGURES["logit-geometry"]([bare])
    other = make_run(tmp_path / "other", "sglr")
    path = other.folder / "records.jsonl"
    rows = path.read_text().splitlines()
    moved = [row.replace('"test"', '"train"') if '"logit-geometry"' in row else row for row in rows]
    path.write_text("\n".join(moved) + "\n")
    with pytest.raises(RunFolderError, match=r"logit_gap \(clean test\) in other; record it"):
        FIGURES["logit-geometry"]([make_run(tmp_path / "test"), Run.open(other.folder)])
    figure = FIGURES["logit-geometry"]([Run.open(other.folder)])
    assert "clean train images" in figure.get_supxlabel().replace("\n", " ")
