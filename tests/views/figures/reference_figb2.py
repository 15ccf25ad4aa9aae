"""Fig. B.2 of committed runs."""

from reference_records import Entry, assert_curve, assert_decays, caption, legend_names, of, table, titles


def check(figure, folders):
    check_curves(figure, folders, {"standard": "standard training", "hard": "adversarial training"})
    assert "bins, 797 test images" in caption(figure)


def check_small(figure, folders):
    check_curves(figure, folders, {"standard": "standard training", "hard": "adversarial training"})
    assert "bins, 500 test images" in caption(figure)


def check_several(figure, folders):
    names = {"hard": "adversarial training, hard labels", "sglr": "adversarial training, SGLR"}
    check_curves(figure, folders, names)
    assert "bins, 500 test images" in caption(figure)
    assert "no run of standard training" in caption(figure)


def check_curves(figure, folders, names):
    assert titles(figure) == ["(a) clean test images", "(b) adversarial test images"]
    assert legend_names(figure) == list(names.values())
    assert figure.axes[0].get_ylabel() == "expected calibration error"
    prefix = "digits-" if folders[0].name.startswith("digits") else "cifar10-small-"
    for axes, inputs in zip(figure.axes, ("clean", "adversarial"), strict=True):
        assert axes.get_xlabel() == "epoch"
        assert_decays(axes, folders[0])
        for mode, label in names.items():
            assert_curve(axes, label, table(of(folders, f"{prefix}{mode}-"), "calibration", "ece", "test", inputs))
    assert "ECE in 15 equal-width bins" in caption(figure)


ENTRIES = [
    Entry("figb2", ["digits-standard-seed*", "digits-hard-seed*"], check),
    Entry("figb2", ["cifar10-small-hard-seed*", "cifar10-small-sglr-seed*"], check_several),
    Entry("figb2", ["cifar10-small-standard-seed*", "cifar10-small-hard-seed*"], check_small),
]
