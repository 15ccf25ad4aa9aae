"""Fig. B.7: what is drawn of the committed runs under several schedules is in their record files."""

import numpy as np
import pytest

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import RunFolderError
from overfit_lab.views.figures.series import decays
from raw_records import assert_draws, check_print, committed, curves, over_seeds
from run_factory import make_run

SIX = ["piecewise", "cosine", "linear", "cyclic", "one-drop", "multi-decay"]
STUDY = "studies/digits-schedules"
KEYS = [
    ("evaluation", "acc_adv", "train", "adversarial"),
    ("evaluation", "acc_adv", "test", "adversarial"),
    ("gradient-norm", "full", "train", "adversarial"),
    ("hessian", "trace", "train", "adversarial"),
]
CASES = {
    "cifar10-small": {"piecewise": "cifar10-small-hard-seed*", "cosine": "cifar10-small-cosine-seed*"},
    "digits": {name: f"{STUDY}/schedule_{name}-seed*" for name in SIX},
}


@pytest.fixture(scope="module")
def figures():
    return {case: FIGURES["figb7"](committed(*patterns.values())) for case, patterns in CASES.items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("panel", range(4))
def test_every_curve_is_the_records(figures, case, panel):
    axes = figures[case].axes[panel]
    drawn = {line.get_label(): line for line in curves(axes)}
    assert list(drawn) == list(CASES[case])
    for name, pattern in CASES[case].items():
        epochs, found = over_seeds(pattern, *KEYS[panel])
        assert len(found) == 3
        assert_draws(drawn[name], axes, epochs, found)
        mean, color = found.mean(0), drawn[name].get_color()
        marks = [m for m in axes.get_lines() if len(m.get_xdata()) == 1 and m.get_color() == color]
        points = [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks]
        peak = (epochs[mean.argmax()], pytest.approx(mean.max()))
        assert points == ([peak, (epochs[-1], pytest.approx(mean[-1]))] if panel == 1 else [])


@pytest.mark.parametrize("case", CASES)
def test_titles_labels_legend_and_caption(figures, case):
    figure = figures[case]
    titles = ["(a) robust train accuracy", "(b) robust test accuracy", "(c) gradient norm", "(d) Hessian trace"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels[:2] == ["accuracy (%)"] * 2
    assert "gradient norm" in labels[2]
    assert "trace" in labels[3]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "epoch", "epoch"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(CASES[case])
    looks = {(line.get_color(), str(line._dash_pattern)) for line in curves(figure.axes[0])}
    assert len(looks) == len({dash for _, dash in looks}) == len(CASES[case])
    caption = figure.get_supxlabel().replace("\n", " ")
    for part in ("n train", "PGD-20, l_inf eps", "mean of 3 seeds, band", "hard labels", "fixed train probe subset"):
        assert part in caption
    check_print(figure)
    for axes in figure.axes:
        drawn = np.concatenate([line.get_ydata() for line in curves(axes)])
        assert axes.get_ylim()[0] <= drawn.min() < drawn.max() <= axes.get_ylim()[1]


def test_each_schedule_has_its_decays_and_the_shade_begins_at_the_first(figures):
    def strokes(axes):
        found = [line for line in axes.get_lines() if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
        return [(line.get_xdata()[0], line.get_color()) for line in found]

    first = {line.get_label(): line.get_color() for line in curves(figures["digits"].axes[0])}
    for axes in figures["digits"].axes:
        assert sorted(strokes(axes)) == sorted(
            [
                (50, first["piecewise"]),
                (75, first["piecewise"]),
                (50, first["one-drop"]),
                *((epoch, first["multi-decay"]) for epoch in range(10, 100, 10)),
            ]
        )
        assert [line.get_xdata()[0] for line in axes.get_lines() if list(line.get_ydata()) == [0, 1]] == [50]
    assert {epoch for epoch, _ in strokes(figures["cifar10-small"].axes[0])} == {8, 40}


def test_a_smooth_schedule_has_no_decays():
    """A cosine's rate falls by half in each of its last epochs; those were once marked as decays."""
    assert decays(committed("cifar10-small-cosine-seed*")) == []
    assert decays(committed(f"{STUDY}/schedule_piecewise-seed*")) == [50, 75]
    assert decays(committed(f"{STUDY}/schedule_cyclic-seed*")) == []


def test_without_decays_nothing_is_shaded():
    figure = FIGURES["figb7"](committed("cifar10-small-cosine-seed*"))
    assert all(len(line.get_xdata()) != 2 for axes in figure.axes for line in axes.get_lines())
    assert "shaded" not in figure.get_supxlabel()


def test_settings_of_one_schedule_are_drawn_apart(tmp_path):
    runs = [
        make_run(tmp_path / f"{stop}-{seed}", "hard", seed, schedule={"name": "piecewise", "milestones": [stop]})
        for stop in (5, 10)
        for seed in (0, 1)
    ]
    figure = FIGURES["figb7"](runs)
    names = ["piecewise (milestones [5])", "piecewise (milestones [10])"]
    assert [line.get_label() for line in curves(figure.axes[0])] == names
    assert len({line.get_color() for line in curves(figure.axes[0])}) == 2


def test_misfits_are_refused(tmp_path):
    mixed = committed(f"{STUDY}/schedule_cosine-seed0", "cifar10-small-cosine-seed0")
    with pytest.raises(RunFolderError, match="hard labels differ in more than the seed and the schedule"):
        FIGURES["figb7"](mixed)
    bare = make_run(tmp_path / "bare", probes=False)
    with pytest.raises(RunFolderError, match=r"figb7: no gradient-norm full .*--metric gradient-norm"):
        FIGURES["figb7"]([bare])


def test_of_several_label_modes_the_first_is_drawn(tmp_path):
    runs = [make_run(tmp_path / labels, labels) for labels in ("sglr", "hard")]
    assert "hard labels" in FIGURES["figb7"](runs).get_supxlabel()
    assert "SGLR" in FIGURES["figb7"](runs[:1]).get_supxlabel()


def test_a_seed_that_two_studies_hold_counts_once():
    """Seed 0 of the study, and its twin among the runs of all methods, which was evaluated more often."""
    runs = committed(f"{STUDY}/schedule_piecewise-seed*", "digits-hard-seed0")
    axes = FIGURES["figb7"](runs).axes[1]
    epochs, found = over_seeds(CASES["digits"]["piecewise"], *KEYS[1])
    assert len(found) == 3
    assert_draws(curves(axes)[0], axes, epochs, found)
