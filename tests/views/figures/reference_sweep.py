"""A sweep of committed runs: r by temperature, and schedules."""

import numpy as np

from reference_records import Entry, caption, legend_names, of, table


def check_numbers(figure, folders):
    best, final, diff = figure.axes
    assert {axes.get_xlabel() for axes in figure.axes} == {"labels.r"}
    assert best.get_ylabel().replace("\n", " ") == "best robust test accuracy (%)"
    assert diff.get_ylabel() == "robust best − final (points)"
    assert legend_names(figure) == ["temperature 0.5", "temperature 2"]
    for temperature in ("0.5", "2"):
        for i, r in enumerate(("0", "0.4", "1")):
            scores = accuracies(folders, f"r{r}-temperature{temperature}-")
            wanted = {best: scores.max(axis=0), final: scores[-1], diff: scores.max(axis=0) - scores[-1]}
            for axes, values in wanted.items():
                line, bars = drawn(axes, f"temperature {temperature}")
                np.testing.assert_allclose(line.get_ydata()[i], values.mean())
                assert abs(line.get_xdata()[i] - float(r)) < 0.02
                np.testing.assert_allclose(np.ptp(bars[i][:, 1]) / 2, values.std(ddof=1), atol=1e-9)
    assert "mean of 3 seeds" in caption(figure)
    assert "one standard deviation over seeds" in caption(figure)


def check_words(figure, folders):
    best, final, _ = figure.axes
    assert best.get_xlabel() == "schedule"
    names = [label.get_text() for label in best.get_xticklabels()]
    assert names == ["cosine", "piecewise"]
    for axes, pick in ((best, lambda scores: scores.max(axis=0)), (final, lambda scores: scores[-1])):
        (container,) = axes.containers
        line = container.lines[0]
        assert line.get_linestyle() == "None"
        wanted = [pick(accuracies(folders, f"schedule_{name}-")).mean() for name in names]
        np.testing.assert_allclose(line.get_ydata(), wanted)
    assert not figure.legends


def accuracies(folders, text):
    """Robust test accuracy in percent: epochs by seeds."""
    return 100 * table(of(folders, text), "evaluation", "acc_adv", "test", "adversarial").to_numpy()


def drawn(axes, label):
    (found,) = [c for c in axes.containers if c.get_label() == label]
    return found.lines[0], found.lines[2][0].get_segments()


STUDY = "studies/digits-table4/r{}-temperature{}-seed*"
ENTRIES = [
    Entry("sweep", [STUDY.format(r, t) for r in ("0", "0.4", "1") for t in ("0.5", "2")], check_numbers),
    Entry("sweep", [f"studies/digits-schedules/schedule_{n}-seed*" for n in ("cosine", "piecewise")], check_words),
]
