"""Fig. 1 of committed runs."""

from reference_records import Entry, assert_curve, assert_decays, caption, legend_names, table, titles


def check(figure, folders):
    left, right, second = figure.axes
    assert titles(figure)[:2] == ["(a) gradient norm, PGD-AT", "(b) robust accuracy and IIW"]
    assert [left.get_xlabel(), right.get_xlabel()] == ["epoch", "epoch"]
    assert left.get_ylabel().startswith("gradient norm")
    assert right.get_ylabel() == "robust accuracy (%)"
    assert second.get_ylabel() in ("IIW (nats)", r"IIW ($10^3$ nats)")
    assert legend_names(figure) == ["robust train", "robust test", "IIW (right axis)"]
    assert_curve(left, 0, table(folders, "gradient-norm", "full", "train", "adversarial"))
    for split in ("train", "test"):
        assert_curve(right, f"robust {split}", table(folders, "evaluation", "acc_adv", split, "adversarial"))
    assert_curve(second, "IIW (right axis)", table(folders, "iiw", "iiw", "train", "adversarial"))
    for axes in (left, right):
        assert_decays(axes, folders[0])
    assert {text.get_text() for text in left.texts} == {"stationary", "growth"}
    assert "gradient norm and IIW on 500 adversarial train images" in caption(figure)


def check_scale(figure, folders):
    check(figure, folders)
    text = caption(figure)
    assert "n train 2,000 of 50,000, n test 1,000 of 10,000" in text
    assert "PreAct-ResNet-18 (width 16, blocks 1-1-1-1, stem stride 2)" in text


ENTRIES = [
    Entry("fig1", ["cifar10-small-hard-seed*"], check_scale),
    Entry("fig1", ["digits-hard-seed*"], check),
]
