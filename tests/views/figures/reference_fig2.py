"""Fig. 2 of committed runs."""

from reference_records import Entry, assert_curve, assert_decays, legend_names, of, table, titles

MODES = ("hard", "smooth", "sglr")
ROWS = (("acc_clean", "clean", "clean accuracy (%)"), ("acc_adv", "adversarial", "robust accuracy (%)"))


def check(figure, folders):
    assert len(figure.axes) == 6
    assert titles(figure)[:3] == ["hard labels", "label smoothing", "SGLR"]
    assert legend_names(figure) == ["train", "test"]
    prefix = folders[0].name.partition("hard")[0]
    for row, (field, inputs, label) in enumerate(ROWS):
        assert figure.axes[3 * row].get_ylabel() == label
        for column, mode in enumerate(MODES):
            axes, runs = figure.axes[3 * row + column], of(folders, f"{prefix}{mode}-")
            for split in ("train", "test"):
                assert_curve(axes, split, table(runs, "evaluation", field, split, inputs))
            assert_decays(axes, runs[0])
    assert [axes.get_xlabel() for axes in figure.axes[3:]] == ["epoch"] * 3


ENTRIES = [Entry("fig2", [f"{name}-{mode}-seed*" for mode in MODES], check) for name in ("cifar10-small", "digits")]
