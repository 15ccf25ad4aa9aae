"""Figures from synthetic runs: the drawn numbers are the records', every format is written, and misfits are said."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.views.figures.series import by_labels, curve, decays
from overfit_lab.views.figures.style import looks_of, save, style
from run_factory import EPOCHS, make_run, robust_test

ALL = list(FIGURES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder / f"{labels}-{seed}", labels, seed) for labels in ("hard", "smooth", "sglr") for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def noise_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    return [
        make_run(folder / f"{labels}-{rate}", labels, 0, objective="standard", rate=rate)
        for labels in ("hard", "smooth", "sglr")
        for rate in (0, 0.2, 0.4, 0.6)
    ]


def line(axes, label):
    (found,) = [drawn for drawn in axes.get_lines() if drawn.get_label() == label]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_written_in_every_format_and_repeats(name, runs, tmp_path):
    before = dict(mpl.rcParams)
    paths = [tmp_path / f"{i}.{suffix}" for i in (1, 2) for suffix in ("png", "pdf", "svg")]
    for i in (0, 3):
        figure = FIGURES[name](runs)
        assert isinstance(figure, Figure)
        for path in paths[i : i + 3]:
            save(figure, path)
    for first, again in zip(paths[:3], paths[3:], strict=True):
        assert first.read_bytes() == again.read_bytes(), first.suffix
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ALL)
def test_every_axis_is_labelled_and_the_caption_says_what_was_run(name, runs):
    figure = FIGURES[name](runs)
    caption = figure.get_supxlabel()
    seeds = "seed 0" if name == "fig5" else "2 seeds"
    for part in (
        "digits, n train 500",
        "(of 1,797)",
        "MLP",
        "PGD-20, l_inf eps 8/255",
        "30% symmetric label noise",
        seeds,
    ):
        assert part in caption.replace("\n", " ")
    for axes in figure.axes:
        drawn = axes.get_lines() or axes.collections
        if drawn and axes.get_xticks().size and name not in ("fig2", "fig5", "figb3", "calibration"):
            assert axes.get_xlabel() or axes.get_ylabel()


def test_fig1_draws_the_records_of_hard_labels(runs):
    left, right, second = FIGURES["fig1"](runs).axes
    epochs = np.arange(2, EPOCHS + 1, 2)
    x, y = left.get_lines()[0].get_data()
    assert np.array_equal(x, epochs)
    np.testing.assert_allclose(y, 1 + 0.05 * epochs + 0.5)  # mean over seeds 0 and 1
    x, y = line(right, "robust test")
    np.testing.assert_allclose(y, [np.mean([robust_test("hard", s, e) for s in (0, 1)]) for e in range(1, 21)])
    np.testing.assert_allclose(line(right, "robust train")[1], np.arange(1, 21) / 25)
    np.testing.assert_allclose(line(second, "IIW (right axis)")[1], 100 * epochs + 0.5)
    for axes in (left, right):
        marks = [drawn.get_xdata()[0] for drawn in axes.get_lines() if len(drawn.get_xdata()) == 2]
        assert marks == [10, 15]
    assert {text.get_text() for text in left.texts} == {"stationary", "growth"}


def test_the_band_goes_from_the_lowest_to_the_highest_seed(runs):
    hard = by_labels(runs)["hard"]
    found = curve(hard, "evaluation", "acc_adv", "test", "adversarial")
    np.testing.assert_allclose(found.low, [robust_test("hard", 0, e) for e in range(1, 21)])
    np.testing.assert_allclose(found.high, [robust_test("hard", 1, e) for e in range(1, 21)])
    assert found.n_runs == 2
    assert decays(hard) == [10, 15]


def test_fig2_has_a_column_for_each_label_mode(runs):
    axes = FIGURES["fig2"](runs).axes
    assert [a.get_title() for a in axes[:3]] == ["hard labels", "label smoothing", "SGLR"]
    for column, labels in enumerate(("hard", "smooth", "sglr")):
        y = line(axes[3 + column], "test")[1]
        np.testing.assert_allclose(y, [np.mean([robust_test(labels, s, e) for s in (0, 1)]) for e in range(1, 21)])
    partial = FIGURES["fig2"](runs[:2]).axes
    assert [a.texts[0].get_text() for a in partial[1:3]] == ["no smooth run", "no sglr run"]


def test_fig2_without_any_of_its_label_modes_is_refused(tmp_path):
    """It once drew six empty panels."""
    with pytest.raises(RunFolderError, match="fig2: no adversarial training with hard, smooth, sglr labels among std"):
        FIGURES["fig2"]([make_run(tmp_path / "std", objective="standard")])


def test_fig3_puts_right_against_wrong_confidence(runs):
    clean, adversarial = FIGURES["fig3"](runs).axes
    epochs = np.arange(2, EPOCHS + 1, 2)
    for axes, shift in ((clean, 0.0), (adversarial, 0.1)):
        points = axes.collections[0].get_offsets()
        np.testing.assert_allclose(points[:, 0], 0.5 + epochs / 50 - shift)
        np.testing.assert_allclose(points[:, 1], 0.3 + epochs / 80 + shift)
        sizes, alphas = axes.collections[0].get_sizes(), axes.collections[0].get_alpha()
        assert (np.diff(sizes) > 0).all()
        assert (np.diff(alphas) > 0).all()
        stars = [drawn for drawn in axes.get_lines() if drawn.get_marker() == "*"]
        assert [tuple(star.get_data()) for star in stars] == [(1, 0)] or stars[0].get_xydata().tolist() == [[1, 0]]
        dashed = [drawn for drawn in axes.get_lines() if drawn.get_linestyle() == "--"]
        assert dashed[0].get_xdata()[0] == pytest.approx(0.5 + 12 / 50 - shift)  # the best epoch is 12


def test_fig4_takes_the_rate_nearest_to_40_percent_and_marks_the_untouched_share(noise_runs):
    left, right = FIGURES["fig4"](noise_runs).axes
    np.testing.assert_allclose(line(left, "hard labels")[1], 0.4 + np.arange(1, 21) / 50)
    np.testing.assert_allclose(line(right, "SGLR")[1], 0.4 + np.arange(1, 21) / 60)
    level = [drawn.get_ydata()[0] for drawn in left.get_lines() if drawn.get_linestyle() == "--"]
    assert pytest.approx(0.62) in level
    assert left.texts[0].get_text() == "untouched labels 62%"
    caption = FIGURES["fig4"](noise_runs).get_supxlabel()
    assert "40% symmetric label noise" in caption


def test_fig4_without_noise_says_so(tmp_path):
    with pytest.raises(RunFolderError, match="no run with label noise"):
        FIGURES["fig4"]([make_run(tmp_path / "clean", rate=0)])


def test_fig5_is_a_grid_of_label_modes_by_noise_rates(noise_runs):
    axes = FIGURES["fig5"](noise_runs).axes
    assert len(axes) == 12
    assert [a.get_title() for a in axes[:4]] == [rf"$\eta$ = {rate:g}" for rate in (0, 0.2, 0.4, 0.6)]
    stored = noise_runs[0].arrays("features", EPOCHS)
    for label in range(10):
        expected = stored["tsne-test-clean"][stored["label-test-clean"] == label]
        np.testing.assert_allclose(axes[0].collections[label].get_offsets(), expected)
    missing = [run for run in noise_runs if run.name != "smooth-0.4"]
    assert FIGURES["fig5"](missing).axes[6].texts[0].get_text() == "no run"


def test_calibration_draws_trajectories_and_bins(runs):
    clean, adversarial, diagram, _ = FIGURES["calibration"](runs).axes
    epochs = np.arange(2, EPOCHS + 1, 2)
    np.testing.assert_allclose(line(clean, "hard labels")[1], 0.1 + epochs / 200)
    np.testing.assert_allclose(line(adversarial, "SGLR")[1], 0.2 + epochs / 200)
    points = diagram.collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], np.linspace(0.03, 0.97, 15))
    np.testing.assert_allclose(points[:, 1], np.linspace(0.0, 0.8, 15))


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig4", "calibration", "overview"])
def test_no_curve_is_cut_off_by_its_axis(name, runs):
    """A limit set before a shared axis had its last curve once cut off the larger panel."""
    for axes in FIGURES[name](runs).axes:
        low, high = axes.get_ylim()
        for drawn in axes.get_lines():
            if drawn.get_transform().contains_branch(axes.transData) and len(drawn.get_xdata()) > 2:
                y = np.asarray(drawn.get_ydata(), dtype=float)
                assert low <= y.min()
                assert y.max() <= high


def test_overview_leaves_out_what_no_run_has(runs, tmp_path):
    bare = make_run(tmp_path / "bare", probes=False)
    shown = [a.get_title(loc="left") for a in FIGURES["overview"]([bare]).axes if a.axison]
    assert "gradient norm, robust train" not in shown
    assert "robust test accuracy" in shown
    full = [a.get_title(loc="left") for a in FIGURES["overview"](runs).axes if a.axison]
    assert len(full) == 12


@pytest.mark.parametrize(
    ("name", "probe"), [("fig1", "gradient-norm"), ("fig3", "confidence"), ("calibration", "calibration")]
)
def test_missing_records_are_named_with_the_command_that_makes_them(name, probe, tmp_path):
    with pytest.raises(RunFolderError, match=f"--metric {probe}"):
        FIGURES[name]([make_run(tmp_path / "bare", probes=False)])


@pytest.mark.parametrize("name", ALL)
def test_no_runs_are_refused(name):
    with pytest.raises(RunFolderError, match="no runs"):
        FIGURES[name]([])


def test_looks_differ_in_colour_dash_and_marker():
    looks = looks_of(["hard", "smooth", "sglr", "te", "kd", "als"])
    for part in ("color", "linestyle", "marker"):
        assert len({str(getattr(look, part)) for look in list(looks.values())[:5]}) == 5
    with style():
        grey = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in (mpl.colors.to_rgb(x.color) for x in looks.values())]
    assert len({round(value, 2) for value in grey}) >= 5


@pytest.mark.parametrize(("name", "message"), [("a.gif", "expected a file ending"), ("none/a.png", "no such folder")])
def test_bad_paths_are_refused(name, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        save(Figure(), tmp_path / name)


def test_methods_are_sorted_by_what_they_end_with(runs):
    figure = FIGURES["methods"](runs)
    first = figure.axes[0]
    names = [label.get_text() for label in first.get_yticklabels()]
    assert names == ["hard labels", "smooth", "sglr"]
    final = next(c for c in first.containers if c.get_label() == "final")
    best = next(c for c in first.containers if c.get_label() == "best")
    np.testing.assert_allclose(final.lines[0].get_xdata(), [40.5, 45.5, 49.5])
    np.testing.assert_allclose(best.lines[0].get_xdata(), [50.5, 50.5, 50.5])
    assert "highest robust accuracy on test" in figure.get_supxlabel().replace("\n", " ")
