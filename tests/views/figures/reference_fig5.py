"""Fig. 5 of committed runs."""

import numpy as np

from reference_records import Entry, arrays, caption, legend_names, of, table, titles

MODES, RATES = ("hard", "smooth", "sglr"), ("00", "20", "40", "60")


def check(prefix, n):
    return lambda figure, folders: held(figure, folders, prefix, n)


def held(figure, folders, prefix, n):
    assert len(figure.axes) == 12
    assert titles(figure)[:4] == [rf"$\eta$ = {rate}" for rate in ("0", "0.2", "0.4", "0.6")]
    assert legend_names(figure) == ["class 0", *map(str, range(1, 10))]
    assert f"{n} clean test images at the last epoch" in caption(figure)
    for row, mode in enumerate(MODES):
        assert ("hard labels", "label smoothing", "SGLR")[row] in figure.axes[4 * row].get_ylabel()
        for column, rate in enumerate(RATES):
            axes, (folder,) = figure.axes[4 * row + column], of(folders, f"{prefix}-noise{rate}-{mode}-")
            silhouette = table([folder], "features", "silhouette", "test", "clean")
            assert axes.get_xlabel() == f"silhouette {silhouette.iloc[-1, 0]:.2f}"
            kept = arrays(folder, "features", silhouette.index[-1])
            for label, cloud in enumerate(axes.collections):
                np.testing.assert_array_equal(
                    cloud.get_offsets(), kept["tsne-test-clean"][kept["label-test-clean"] == label]
                )


ENTRIES = [
    Entry("fig5", [f"{prefix}-noise{rate}-{mode}-seed0" for mode in MODES for rate in RATES], check(prefix, n))
    for prefix, n in (("digits", 512), ("cifar10", 500))
]
