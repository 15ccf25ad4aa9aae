"""Methods side by side, of committed runs."""

import numpy as np

from reference_records import Entry, caption, legend_names, of, table

ROWS = {"hard labels": "hard", "sglr": "sglr", "trades": "trades", "mart": "mart"}


def check(figure, folders):
    first, clean, error, norm = figure.axes
    assert first.get_xlabel() == "robust test accuracy (%)"
    assert [axes.get_xlabel().replace("\n", " ") for axes in (clean, error, norm)] == [
        "final clean accuracy (%)",
        "final ECE, adversarial",
        "final gradient norm",
    ]
    assert legend_names(figure) == ["final", "best"]
    names = [label.get_text() for label in first.get_yticklabels()]
    finals = {name: points(first, "final")[i] for i, name in enumerate(names)}
    assert set(names) == set(ROWS)
    assert list(finals.values()) == sorted(finals.values())
    for i, name in enumerate(names):
        runs = of(folders, f"digits-{ROWS[name]}-seed")
        scores = 100 * table(runs, "evaluation", "acc_adv", "test", "adversarial").to_numpy()
        np.testing.assert_allclose(points(first, "final")[i], scores[-1].mean())
        np.testing.assert_allclose(points(first, "best")[i], scores.max(axis=0).mean())
        spread = first.containers[0].lines[2][0].get_segments()[i][:, 0]
        np.testing.assert_allclose(np.ptp(spread) / 2, scores[-1].std(ddof=1))
        for axes, place in (
            (clean, ("evaluation", "acc_clean", "test", "clean")),
            (error, ("calibration", "ece", "test", "adversarial")),
            (norm, ("gradient-norm", "full", "train", "adversarial")),
        ):
            scale = 100 if axes is clean else 1
            drawn = axes.containers[0].lines[0].get_xdata()[i]
            np.testing.assert_allclose(drawn, scale * table(runs, *place).iloc[-1].mean())
    assert "highest robust accuracy on test" in caption(figure)


def points(axes, label):
    (found,) = [c for c in axes.containers if c.get_label() == label]
    return found.lines[0].get_xdata()


ENTRIES = [Entry("methods", [f"digits-{mode}-seed*" for mode in ROWS.values()], check)]
