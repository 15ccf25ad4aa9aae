"""Fig. B.5 of committed runs; tests/views/figures/test_figb5.py holds its other panels."""

from reference_records import Entry, assert_curve, assert_decays, caption, of, table


def nth(axes, i):
    """Number of the i-th curve among a panel's lines, passing over marks and strokes."""
    return [k for k, line in enumerate(axes.get_lines()) if len(line.get_xdata()) > 2][i]


def check(figure, folders):
    for row, split in enumerate(("train", "test")):
        noise, eps = figure.axes[2 * row : 2 * row + 2]
        assert noise.get_ylabel() == f"perturbed {split} accuracy (%)"
        assert eps.get_ylabel() == f"robust {split} accuracy (%)"
        drawn = (("attack_pgd-", "acc_adv", "adversarial"), ("attack_gaussian-noise-", "acc_noisy", "noisy"))
        for i, (prefix, field, inputs) in enumerate(drawn):
            assert_curve(noise, nth(noise, i), table(of(folders, prefix), "evaluation", field, split, inputs))
        for i, radius in enumerate(("0.02", "0.05", "0.1", "0.15")):
            runs = of(folders, f"eps{radius}-")
            assert_curve(eps, nth(eps, i), table(runs, "evaluation", "acc_adv", split, "adversarial"))
        for axes in (noise, eps):
            assert_decays(axes, folders[0])
    assert "perturbed: under the noise or attack of training" in caption(figure)


STUDIES = ("digits-corruption", "digits-random-pixels", "digits-eps")
ENTRIES = [Entry("figb5", [f"studies/{study}/*-seed*" for study in STUDIES], check)]
