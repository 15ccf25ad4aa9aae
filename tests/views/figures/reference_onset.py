"""The onset of committed runs."""

import pytest

from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.phases_of import phases_of
from reference_records import Entry, assert_curve, assert_decays, caption, legend_names, table, titles

DECAYS = {"cifar10-small": [8, 40], "digits": [50, 75]}


def check(figure, folders):
    assert len(figure.axes) == len(folders) == 6
    assert legend_names(figure) == ["train", "test", "gap", "onset: test falls", "gap grows"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["robust accuracy, gap (%)"] * 2
    for axes, folder, title in zip(figure.axes, folders, titles(figure), strict=True):
        assert axes.get_xlabel() == "epoch"
        train, test = (table([folder], "evaluation", "acc_adv", split, "adversarial") for split in ("train", "test"))
        assert_curve(axes, "train", train)
        assert_curve(axes, "test", test)
        assert_curve(axes, "gap", train - test)
        assert_decays(axes, folder)
        check_verdict(axes, folder, title, train, test)
    assert "shaded and bar: 95% intervals" in caption(figure)


def check_verdict(axes, folder, title, train, test):
    name = next(name for name in DECAYS if folder.name.startswith(name))
    y = test.iloc[:, 0].to_numpy()
    found = phases_of(Run.open(folder))
    hard = "-hard-" in folder.name
    assert (found.overfits == 1) == hard
    assert found.decay_epoch == (DECAYS[name][0] if hard else None)
    assert title.split("\n")[0] == f"{'hard labels' if hard else 'SGLR'}, seed {folder.name[-1]}"
    drop = found.drop
    assert f"drops {100 * drop.value:.1f} [{100 * drop.low:.1f}, {100 * drop.high:.1f}] points" in title
    onsets = [drawn for drawn in axes.get_lines() if drawn.get_label() == "onset: test falls"]
    if hard:
        peak = found.peak
        assert onsets[0].get_xdata()[0] == peak.epoch == test.index[y.argmax()]
        assert f"overfits from epoch {peak.epoch:.0f} [{peak.low:.0f}, {peak.high:.0f}]" in title
        (band,) = [patch for patch in axes.patches if patch.get_width() == peak.high - peak.low]
        assert band.get_x() == peak.low
        (bar,) = axes.containers
        assert bar.lines[0].get_xdata()[0] == found.onset.epoch
        assert bar.lines[2][0].get_segments()[0][:, 0].tolist() == [found.onset.low, found.onset.high]
        (arrow,) = axes.texts
        assert arrow.arrow_patch is not None
        assert arrow.xy[1] == pytest.approx(y[-3:].mean())
    else:
        assert not onsets
        assert {"none": "no overfitting", "not enough evidence": "cannot tell"}[found.verdict] in title


ENTRIES = [
    Entry("onset", [f"{name}-{mode}-seed*" for mode in ("hard", "sglr")], check) for name in ("cifar10-small", "digits")
]
