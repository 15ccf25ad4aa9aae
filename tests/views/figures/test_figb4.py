"""Fig. B.4: what is drawn of the committed runs under label noise is in their record files."""

import json

import numpy as np
import pytest

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.style import COLUMN
from raw_records import REFERENCE, assert_draws, check_print, committed, curves, over_seeds
from run_factory import EPOCHS, make_run, robust_test

RATES, LABELS = (0, 0.2, 0.4, 0.6), ("hard", "smooth", "sglr")
TITLES = ["hard labels", "label smoothing", "SGLR"]


@pytest.fixture(scope="module")
def figure():
    return FIGURES["figb4"](committed("digits-noise[0-9]*"))


def panels(figure):
    return np.array(figure.axes).reshape(2, -1)


def test_every_curve_is_the_records(figure):
    for row, split in enumerate(("train", "test")):
        for column, rate in enumerate(RATES):
            axes = panels(figure)[row][column]
            drawn = curves(axes)
            assert len(drawn) == 3
            for line, labels in zip(drawn, LABELS, strict=True):
                pattern = f"digits-noise{100 * rate:02.0f}-{labels}-seed*"
                assert_draws(line, axes, *over_seeds(pattern, "evaluation", "acc_clean", split, "clean"))
            bands = [part for part in axes.collections if len(part.get_paths()[0].vertices) > 10]
            assert len(bands) == (3 if rate == 0.4 else 0)


def test_the_dotted_line_is_the_share_that_noise_left_alone(figure):
    for axes, rate in zip(panels(figure)[0], RATES, strict=True):
        shares = []
        for path in REFERENCE.glob(f"digits-noise{100 * rate:02.0f}-*/run.json"):
            data = json.loads(path.read_text())["data"]
            shares.append(1 - data.get("n_resampled", 0) / data["sizes"]["train"])
        (level,) = [line for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]
        assert level.get_ydata()[0] == pytest.approx(np.mean(shares))
    assert not [line for axes in panels(figure)[1] for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]


def test_titles_labels_legend_and_caption(figure):
    assert [axes.get_title() for axes in panels(figure)[0]] == [rf"$\eta$ = {rate:g}" for rate in RATES]
    assert [axes.get_xlabel() for axes in panels(figure)[1]] == ["epoch"] * 4
    labels = [panels(figure)[row][0].get_ylabel().replace("\n", " ") for row in (0, 1)]
    assert labels == ["clean train accuracy (%)", "clean test accuracy (%)"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*TITLES, "share of untouched labels"]
    drawn = curves(figure.axes[0])
    for handle, line in zip(legend.get_lines(), drawn, strict=False):
        assert (handle.get_color(), handle.get_linestyle()) == (line.get_color(), line.get_linestyle())
    assert len({(line.get_color(), str(line.get_linestyle())) for line in drawn}) == 3
    caption = figure.get_supxlabel().replace("\n", " ")
    for part in ("digits, n train 500, n test 797", "no attack", "mean of 1 to 3 seeds, band", "given labels"):
        assert part in caption
    for rate in ("20%", "40%", "60%"):
        assert f"{rate} symmetric label noise" in caption
    check_print(figure)


def test_decays_are_marked_in_every_panel(figure):
    for axes in figure.axes:
        marks = [line.get_xdata()[0] for line in axes.get_lines() if list(line.get_ydata()) == [0, 1]]
        assert marks == [50, 75]


def test_adversarial_training_is_drawn_by_robust_accuracy(tmp_path):
    runs = [make_run(tmp_path / f"{rate}-{seed}", "sglr", seed, rate=rate) for rate in (0.2, 0.6) for seed in (0, 1)]
    figure = FIGURES["figb4"](runs)
    assert panels(figure).shape == (2, 2)
    assert figure.get_figwidth() == COLUMN
    assert panels(figure)[0][0].get_ylabel().replace("\n", " ") == "robust train accuracy (%)"
    found = np.array([[robust_test("sglr", seed, epoch) for epoch in range(1, EPOCHS + 1)] for seed in (0, 1)])
    assert_draws(curves(panels(figure)[1][1])[0], panels(figure)[1][1], np.arange(1, EPOCHS + 1), found)
    check_print(figure)


def test_standard_training_goes_before_adversarial(tmp_path):
    standard = make_run(tmp_path / "standard", rate=0.4, objective="standard")
    other = make_run(tmp_path / "pgd-at", rate=0.4)
    assert FIGURES["figb4"]([other, standard]).axes[0].get_ylabel().startswith("clean")


def test_misfits_are_refused(tmp_path):
    clean = make_run(tmp_path / "clean", rate=0)
    with pytest.raises(RunFolderError, match="figb4: no run with label noise; train with --set"):
        FIGURES["figb4"]([clean])
    noisy = make_run(tmp_path / "noisy", rate=0.2)
    flipped = make_run(tmp_path / "flip", "smooth", rate=0.4, kind="asymmetric")
    with pytest.raises(RunFolderError, match=r"kind of noise \(data\.noise\.kind: symmetric, asymmetric\)"):
        FIGURES["figb4"]([noisy, flipped])
    other = make_run(tmp_path / "wider", "smooth", rate=0.4, model={"name": "mlp", "hidden": 512})
    with pytest.raises(RunFolderError, match=r"method and label noise \(model\.hidden: None, 512\)"):
        FIGURES["figb4"]([noisy, other])
    awp = [
        make_run(tmp_path / f"awp-{gamma}", rate=rate, regularizers=[{"name": "awp", "gamma": gamma}])
        for gamma, rate in ((0.01, 0.2), (0.03, 0.4))
    ]
    with pytest.raises(RunFolderError, match=r"awp differ in more than the seed and the noise rate \(reg"):
        FIGURES["figb4"](awp)
    mixed = [*committed("digits-noise40-hard-seed0"), make_run(tmp_path / "c", rate=0.6, objective="standard")]
    with pytest.raises(RunFolderError, match="differ in more than seed, method and label noise"):
        FIGURES["figb4"](mixed)


def test_a_run_without_evaluation_is_named(tmp_path):
    make_run(tmp_path / "r", rate=0.2)
    path = tmp_path / "r" / "records.jsonl"
    path.write_text("\n".join(row for row in path.read_text().splitlines() if '"evaluation"' not in row) + "\n")
    with pytest.raises(RunFolderError, match="figb4: no acc_adv"):
        FIGURES["figb4"]([Run.open(tmp_path / "r")])
