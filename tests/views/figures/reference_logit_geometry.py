"""Logit geometry of committed runs."""

import numpy as np

from reference_records import Entry, arrays, assert_curve, assert_decays, caption, legend_names, of, table, titles


def check(figure, folders):
    assert titles(figure) == ["(a) logit gap", "(b) gradient gap", "(c) perturbation", "(d) sample by sample"]
    assert {"hard labels", "SGLR"} <= set(legend_names(figure))
    gap, gradient, radius, samples = figure.axes
    for i, mode in enumerate(("hard", "sglr")):
        runs = of(folders, f"geometry-digits-{mode}")
        for axes, field, line in (
            (gap, "logit_gap", i),
            (gradient, "gradient_gap", i),
            (radius, "measured", 2 * i + 1),
        ):
            assert_curve(axes, line, table(runs, "logit-geometry", field, "test", "clean"))
        kept = arrays(runs[0], "logit-geometry", 100)["geometry-test-clean"][:, 3:5]
        right = kept[(kept > 0).all(axis=1) & np.isfinite(kept).all(axis=1)]
        np.testing.assert_allclose(samples.collections[i].get_offsets(), right)
    for axes in (gap, gradient, radius):
        assert_decays(axes, folders[0])
    assert "clean test images" in caption(figure)


ENTRIES = [Entry("logit-geometry", ["geometry-digits-hard-seed*", "geometry-digits-sglr-seed*"], check)]
