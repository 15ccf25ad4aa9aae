"""Fig. 4 of committed runs."""

import json

import pytest

from reference_records import Entry, assert_curve, assert_decays, caption, legend_names, of, table, titles


def check(prefix, n_train):
    return lambda figure, folders: held(figure, folders, prefix, n_train)


def held(figure, folders, prefix, n_train):
    left, right = figure.axes
    assert titles(figure) == ["(a) training split", "(b) test split"]
    assert [left.get_ylabel(), right.get_ylabel()] == ["clean train accuracy (%)", "clean test accuracy (%)"]
    assert [left.get_xlabel(), right.get_xlabel()] == ["epoch", "epoch"]
    assert legend_names(figure) == ["hard labels", "SGLR"]
    for mode, label in (("hard", "hard labels"), ("sglr", "SGLR")):
        runs = of(folders, f"{prefix}-noise40-{mode}")
        assert_curve(left, label, table(runs, "evaluation", "acc_clean", "train", "clean"))
        assert_curve(right, label, table(runs, "evaluation", "acc_clean", "test", "clean"))
    for axes in (left, right):
        assert_decays(axes, folders[0])
    data = [json.loads((folder / "run.json").read_text())["data"] for folder in folders]
    untouched = 1 - sum(part["n_resampled"] / part["sizes"]["train"] for part in data) / len(data)
    levels = [drawn.get_ydata()[0] for drawn in left.get_lines() if len(set(drawn.get_ydata())) == 1]
    assert any(level == pytest.approx(untouched, abs=1e-6) for level in levels)
    assert f"untouched labels {untouched:.0%}" in {text.get_text() for text in left.texts}
    assert "40% symmetric label noise" in caption(figure)
    assert f"on {n_train} train images, given labels" in caption(figure)


ENTRIES = [
    Entry("fig4", ["digits-noise40-hard-seed*", "digits-noise40-sglr-seed*"], check("digits", "500")),
    Entry("fig4", ["cifar10-noise40-hard-seed*", "cifar10-noise40-sglr-seed*"], check("cifar10", "2,000")),
]
