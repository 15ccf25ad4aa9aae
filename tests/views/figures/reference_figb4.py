"""Fig. B.4 of committed runs."""

from reference_records import Entry, assert_curve, assert_decays, caption, legend_names, of, table, titles

MODES = {"hard": "hard labels", "smooth": "label smoothing", "sglr": "SGLR"}
RATES = ("00", "20", "40", "60")


def check(prefix):
    def held(figure, folders):
        assert titles(figure)[:4] == [rf"$\eta$ = {rate}" for rate in ("0", "0.2", "0.4", "0.6")]
        assert legend_names(figure) == [*MODES.values(), "share of untouched labels"]
        for row, split in enumerate(("train", "test")):
            assert figure.axes[4 * row].get_ylabel().replace("\n", " ") == f"clean {split} accuracy (%)"
            for column, rate in enumerate(RATES):
                axes = figure.axes[4 * row + column]
                assert_decays(axes, folders[0])
                for i, mode in enumerate(MODES):
                    runs = of(folders, f"{prefix}-noise{rate}-{mode}")
                    assert_curve(axes, i, table(runs, "evaluation", "acc_clean", split, "clean"))
        assert "train against the given labels" in caption(figure)

    return held


ENTRIES = [
    Entry("figb4", ["digits-noise[0-9]*"], check("digits")),
    Entry("figb4", ["cifar10-noise*-seed*"], check("cifar10")),
]
