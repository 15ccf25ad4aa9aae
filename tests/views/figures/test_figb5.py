"""Fig. B.5: what is drawn of the committed runs under noise and over eps is in their record files."""

import numpy as np
import pytest

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import RunFolderError
from raw_records import assert_draws, check_print, committed, curves, over_seeds
from run_factory import EPOCHS, make_run, robust_test

CORRUPTION, OWN, EPS = "studies/digits-corruption", "studies/digits-random-pixels", "studies/digits-eps"
RADII = (0.02, 0.05, 0.1, 0.15)


@pytest.fixture(scope="module")
def figure():
    return FIGURES["figb5"](committed(CORRUPTION, OWN, EPS))


def panels(figure):
    return np.array(figure.axes).reshape(2, 2)


def legend_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def expected(column, split):
    adversarial = ("evaluation", "acc_adv", split, "adversarial")
    if column == 1:
        return [over_seeds(f"{EPS}/eps{eps:g}-seed*", *adversarial) for eps in RADII]
    noisy = ("evaluation", "acc_noisy", split, "noisy")
    return [
        over_seeds(f"{CORRUPTION}/attack_pgd-seed*", *adversarial),
        over_seeds(f"{CORRUPTION}/attack_gaussian-noise-seed*", *noisy),
        over_seeds(f"{OWN}/attack_random-pixels-seed*", *noisy),
    ]


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize(("row", "split"), [(0, "train"), (1, "test")])
def test_every_curve_is_the_records(figure, column, row, split):
    axes, wanted = panels(figure)[row][column], expected(column, split)
    drawn = curves(axes)
    assert len(drawn) == len(wanted)
    for line, (epochs, found) in zip(drawn, wanted, strict=True):
        assert len(found) == 3
        assert_draws(line, axes, epochs, found)
        marks = [m for m in axes.get_lines() if len(m.get_xdata()) == 1 and m.get_color() == line.get_color()]
        mean = found.mean(0)
        points = [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks]
        peak = (epochs[mean.argmax()], pytest.approx(mean.max()))
        assert points == ([peak, (epochs[-1], pytest.approx(mean[-1]))] if split == "test" else [])


def test_titles_labels_legends_and_caption(figure):
    (top, other), (bottom, below) = panels(figure)
    assert top.get_legend().get_title().get_text() == "(a) noise or attack in training, eps 0.1"
    assert legend_of(top) == ["PGD-7", "Gaussian noise", "random pixels"]
    assert other.get_legend().get_title().get_text() == "(b) attack in training, over eps"
    assert legend_of(other) == [f"eps {eps:g}" for eps in RADII]
    names = [axes.get_ylabel() for axes in (top, bottom, other, below)]
    assert names == [f"{kind} {split} accuracy (%)" for kind in ("perturbed", "robust") for split in ("train", "test")]
    assert bottom.get_xlabel() == below.get_xlabel() == "epoch"
    caption = figure.get_supxlabel().replace("\n", " ")
    for part in (
        "digits, n train 500, n test 797",
        "30% symmetric-",
        "mean of 3 seeds, band",
        "hard l",
    ):
        assert part in caption
    for eps in RADII:
        assert f"PGD-20, l_inf eps {eps:g}" in caption
    for row in panels(figure):
        assert row[0].get_ylim() == row[1].get_ylim()
        for axes in row:
            drawn = np.concatenate([line.get_ydata() for line in curves(axes)])
            assert axes.get_ylim()[0] <= drawn.min() < drawn.max() <= axes.get_ylim()[1]
    check_print(figure)


def test_lines_differ_in_colour_dash_and_grey(figure):
    from matplotlib.colors import to_rgb

    for axes in panels(figure)[0]:
        drawn = curves(axes)
        assert len({str(line.get_linestyle()) for line in drawn}) >= 2
        assert len({(line.get_color(), str(line._dash_pattern)) for line in drawn}) == len(drawn)
    shades = [np.dot((0.299, 0.587, 0.114), to_rgb(line.get_color())) for line in curves(panels(figure)[0][1])]
    assert min(np.diff(shades)) > 0.05, "the larger eps, the lighter also in grey"


def test_decays_are_marked_in_every_panel(figure):
    for axes in figure.axes:
        marks = [line.get_xdata()[0] for line in axes.get_lines() if list(line.get_ydata()) == [0, 1]]
        assert marks == [50, 75]


def test_noise_that_was_evaluated_under_another_is_said_so():
    top = FIGURES["figb5"](committed(CORRUPTION)).axes[0]
    assert legend_of(top) == ["PGD-7", "Gaussian noise", "random pixels (evaluated under Gaussian noise)"]
    wanted = over_seeds(f"{CORRUPTION}/attack_random-pixels-seed*", "evaluation", "acc_noisy", "train", "noisy")
    assert_draws(curves(top)[2], top, *wanted)


def test_a_panel_without_runs_says_so():
    only_eps = panels(FIGURES["figb5"](committed(EPS)))
    assert [text.get_text() for text in only_eps[0][0].texts] == ["no run trained on Gaussian noise\nor random pixels"]
    assert not only_eps[1][0].axison
    assert len(curves(only_eps[0][1])) == 4
    only_noise = panels(FIGURES["figb5"](committed(OWN)))
    assert legend_of(only_noise[0][0]) == ["random pixels"]
    assert [text.get_text() for text in only_noise[0][1].texts] == ["no run trained on an attack"]


def test_one_eps_is_drawn_by_itself_and_pixels_are_written_as_usual(tmp_path):
    runs = [
        make_run(tmp_path / f"{eps}-{seed}", "hard", seed, attack={"eps": f"{eps}/255"})
        for eps in (4, 8)
        for seed in (0, 1)
    ]
    other = panels(FIGURES["figb5"](runs))[:, 1]
    assert legend_of(other[0]) == ["eps 4/255", "eps 8/255"]
    found = np.array([[robust_test("hard", seed, epoch) for epoch in range(1, EPOCHS + 1)] for seed in (0, 1)])
    assert_draws(curves(other[1])[1], other[1], np.arange(1, EPOCHS + 1), found)
    assert legend_of(FIGURES["figb5"](runs[2:]).axes[1]) == ["eps 8/255"]


def test_misfits_are_refused(tmp_path):
    with pytest.raises(RunFolderError, match="figb5: no run trained on perturbed images among digits-standard-seed0"):
        FIGURES["figb5"](committed("digits-standard-seed0"))
    mixed = committed("studies/digits-eps/eps0.1-seed0", "cifar10-small-hard-seed0")
    with pytest.raises(RunFolderError, match=r"hard labels differ in more than the seed and the perturbation \(epochs"):
        FIGURES["figb5"](mixed)
    runs = [make_run(tmp_path / f"{size}", attack={"eps": 0.1, "step_size": size}) for size in (0.01, 0.02)]
    with pytest.raises(
        RunFolderError, match=r"eps 0\.1 differ in more than the seed \(attack\.step_size: 0\.01, 0\.02"
    ):
        FIGURES["figb5"](runs)
    noises = [make_run(tmp_path / f"noise-{eps}", attack={"name": "gaussian-noise", "eps": eps}) for eps in (0.1, 0.2)]
    with pytest.raises(RunFolderError, match=r"trained on noise differ in more than the noise \(attack\.eps"):
        FIGURES["figb5"](noises)
    with pytest.raises(RunFolderError, match=r"no accuracy under noise in noise-0\.1; train with --set evaluation"):
        FIGURES["figb5"](noises[:1])
