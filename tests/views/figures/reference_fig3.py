"""Fig. 3 of committed runs."""

import numpy as np

from reference_records import Entry, legend_names, of, table, titles

MODES = ("hard", "smooth", "sglr")


def check(figure, folders):
    assert titles(figure) == ["(a) clean test images", "(b) adversarial test images"]
    assert legend_names(figure) == ["hard labels", "label smoothing", "SGLR"]
    assert figure.axes[0].get_ylabel() == "mean confidence in wrong predictions"
    prefix = folders[0].name.partition("hard")[0]
    for axes, inputs in zip(figure.axes, ("clean", "adversarial"), strict=True):
        assert axes.get_xlabel() == "mean confidence in correct predictions"
        clouds = [c for c in axes.collections if len(c.get_offsets())]
        lines = [drawn for drawn in axes.get_lines() if drawn.get_marker() in ("None", "")]
        for i, (mode, cloud) in enumerate(zip(MODES, clouds, strict=True)):
            runs = of(folders, f"{prefix}{mode}-")
            x, y = (table(runs, "confidence", f, "test", inputs).mean(axis=1) for f in ("conf_correct", "conf_wrong"))
            np.testing.assert_allclose(cloud.get_offsets(), np.stack([x, y], axis=1))
            assert (np.diff(cloud.get_sizes()) > 0).all()
            assert (np.diff(cloud.get_alpha()) > 0).all()
            scores = table(runs, "evaluation", "acc_adv", "test", "adversarial")
            best = np.median([scores.iloc[:, k].idxmax() for k in range(scores.shape[1])])
            at = np.argmin(np.abs(x.index.to_numpy() - int(best)))
            trail, upright, level = lines[3 * i : 3 * i + 3]
            assert len(trail.get_xdata()) == len(x)
            np.testing.assert_allclose(upright.get_xydata(), [[x.iloc[at], 0], [x.iloc[at], y.iloc[at]]])
            np.testing.assert_allclose(level.get_xydata(), [[x.iloc[at], y.iloc[at]], [1, y.iloc[at]]])
            low, high = axes.get_xlim()
            assert low <= x.min() <= x.max() <= high == 1
            assert axes.get_ylim()[0] == 0 <= y.max() <= axes.get_ylim()[1]
        (star,) = [drawn for drawn in axes.get_lines() if drawn.get_marker() == "*"]
        assert star.get_xydata().tolist() == [[1, 0]]


ENTRIES = [Entry("fig3", [f"{name}-{mode}-seed*" for mode in MODES], check) for name in ("cifar10-small", "digits")]
