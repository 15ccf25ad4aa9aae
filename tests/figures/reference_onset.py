"""The onset of committed runs."""

import numpy as np
import pytest

from overfit_lab.metrics.phases import phases
from reference_records import Entry, assert_curve, assert_decays, caption, legend_names, line, table, titles

DECAYS = {"cifar10-small": [8, 40], "digits": [50, 75]}


def check(figure, folders):
    assert len(figure.axes) == len(folders) == 6
    assert legend_names(figure) == ["robust train", "robust test", "gap", "onset", "peak"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["robust accuracy, gap (%)"] * 2
    for axes, folder, title in zip(figure.axes, folders, titles(figure), strict=True):
        assert axes.get_xlabel() == "epoch"
        train, test = (table([folder], "evaluation", "acc_adv", split, "adversarial") for split in ("train", "test"))
        assert_curve(axes, "robust train", train)
        assert_curve(axes, "robust test", test)
        assert_curve(axes, "gap", train - test)
        assert_decays(axes, folder)
        check_verdict(axes, folder, title, train, test)
    assert "95% interval of the onset" in caption(figure)


def check_verdict(axes, folder, title, train, test):
    name = next(name for name in DECAYS if folder.name.startswith(name))
    n = 1000 if name == "cifar10-small" else 797
    y = test.iloc[:, 0].to_numpy()
    error = np.sqrt(y * (1 - y) / n)
    found = phases(test.index.to_numpy(), train.iloc[:, 0].to_numpy(), y, stderr=error, decays=DECAYS[name], seed=0)
    hard = "-hard-" in folder.name
    assert found.overfits == hard
    assert title.split("\n")[0] == f"{'hard labels' if hard else 'SGLR'}, seed {folder.name[-1]}"
    assert f"loses {100 * found.fall.loss:.1f} ±".replace("-", "−") in title
    assert f"since epoch {found.fall.peak_epoch:.0f}" in title
    peak = list(test.index).index(found.fall.peak_epoch)
    assert line(axes, "peak").get_xydata()[0] == pytest.approx([found.fall.peak_epoch, y[peak - 1 : peak + 2].mean()])
    onsets = [drawn for drawn in axes.get_lines() if drawn.get_label() == "onset"]
    if hard:
        assert onsets[0].get_xdata()[0] == found.onset.epoch
        assert f"onset {found.onset.epoch:.0f} [{found.onset.low:.0f}, {found.onset.high:.0f}]" in title
        (band,) = [patch for patch in axes.patches if patch.get_width() == found.onset.high - found.onset.low]
        assert band.get_x() == found.onset.low
        (arrow,) = axes.texts
        assert arrow.arrow_patch is not None
        assert arrow.xy[1] == pytest.approx(y[-3:].mean())
    else:
        assert not onsets
        assert "no robust overfitting" in title


ENTRIES = [
    Entry("onset", [f"{name}-{mode}-seed*" for mode in ("hard", "sglr")], check) for name in ("cifar10-small", "digits")
]
