"""One run at single epochs: what is drawn, on which axes, and what is refused."""

import numpy as np
import pytest

from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.files.arrays import write_arrays
from overfit_lab.records import layout
from overfit_lab.views.figures.at_epoch import FIGURES, epochs_of, spread
from overfit_lab.views.figures.series import shares_by_bin
from run_factory import make_run


def maps(epoch):
    """A map that grows with the epoch, so that axes wide enough for one alone would differ."""
    y = np.arange(40) % 4
    points = epoch * np.stack([np.cos(y), np.sin(y)], 1).astype(np.float32)
    return {"tsne-test-clean": points, "label-test-clean": y}


def probabilities(epoch):
    clean = np.linspace(0.5, 0.5 + epoch / 100, 50)
    return {"label-prob-test-clean": clean, "label-prob-test-adversarial": clean / 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    found = make_run(tmp_path_factory.mktemp("epochs") / "r")
    calibration = found.arrays("calibration", 20)
    for epoch in (4, 8, 12, 20):
        for name, arrays in (
            ("features", maps(epoch)),
            ("confidence", probabilities(epoch)),
            ("calibration", calibration),
        ):
            write_arrays(layout.arrays_path(found.folder, name, epoch), arrays)
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_one_panel_an_epoch_and_the_same_axes_at_all(run, name):
    assert epochs_of(run, name) == [4, 8, 12, 20]
    strip = FIGURES[name](run, [4, 20]).axes
    assert [axes.get_title(loc="left") for axes in strip] == ["epoch 4", "epoch 20"]
    (single,) = FIGURES[name](run, 8).axes
    for axes in strip:
        assert axes.get_xlim() == single.get_xlim()
        assert axes.get_ylim() == single.get_ylim()
        assert all(low <= high for low, high in (axes.get_xlim(), axes.get_ylim()))


def test_a_map_has_every_point_inside_and_the_silhouette_below(run):
    axes = FIGURES["map"](run, 20).axes[0]
    points = np.concatenate([part.get_offsets() for part in axes.collections])
    assert len(points) == 40
    for column, (low, high) in enumerate((axes.get_xlim(), axes.get_ylim())):
        assert low < points[:, column].min() < points[:, column].max() < high
    assert axes.get_xlabel() == "silhouette 0.30"


def test_a_histogram_has_the_shares_of_the_images(run):
    axes = FIGURES["confidence"](run, 20).axes[0]
    steps = [patch.get_data().values for patch in axes.patches]
    assert len(steps) == 4
    found = probabilities(20)
    expected, _ = np.histogram(found["label-prob-test-adversarial"], bins=np.linspace(0, 1, 21))
    assert steps[2] == pytest.approx(expected / 50)
    assert steps[0].sum() == pytest.approx(1)


def test_reliability_says_the_recorded_error(run):
    """0.1 + epoch / 200 on clean, a tenth more on adversarial images."""
    figure = FIGURES["reliability"](run, 12)
    assert figure.axes[0].get_xlabel() == "confidence\nECE 0.16 / 0.26"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["clean images", "adversarial images"]


def test_what_is_not_there_is_said(run, tmp_path):
    with pytest.raises(ConfigError, match="epoch 5: map was recorded at 4, 8, 12, 20"):
        FIGURES["map"](run, 5)
    with pytest.raises(ConfigError, match="expected some of 4, 8"):
        FIGURES["map"](run, [])
    bare = make_run(tmp_path / "bare", probes=False)
    with pytest.raises(RunFolderError, match="the probe features records it, with its option `tsne: always`"):
        FIGURES["map"](bare, 20)
    with pytest.raises(RunFolderError, match=r"nothing to draw reliability from; the probe calibration records it$"):
        FIGURES["reliability"](bare, 20)


def test_maps_of_different_images_are_not_set_side_by_side(tmp_path):
    run = make_run(tmp_path / "r")
    other = {name.replace("test-clean", "train-clean"): array for name, array in maps(10).items()}
    write_arrays(layout.arrays_path(run.folder, "features", 10), other)
    with pytest.raises(RunFolderError, match="of different splits or inputs"):
        FIGURES["map"](run, 20)


def test_a_few_epochs_are_spread_evenly_with_first_and_last():
    assert spread([1, 2, 3]) == [1, 2, 3]
    assert spread(list(range(5, 101, 5)), 4) == [5, 35, 70, 100]
    assert spread([7]) == [7]


def test_shares_leave_out_what_is_not_finite():
    assert shares_by_bin(np.array([0.1, 0.6, 1.0, np.nan]), 2) == pytest.approx([1 / 3, 2 / 3])
    assert shares_by_bin(np.array([np.nan]), 4).tolist() == [0, 0, 0, 0]
