"""Fig. B.7 of committed runs."""

from reference_records import Entry, assert_curve, caption, legend_names, of, table, titles

PANELS = (
    ("evaluation", "acc_adv", "train", "adversarial"),
    ("evaluation", "acc_adv", "test", "adversarial"),
    ("gradient-norm", "full", "train", "adversarial"),
    ("hessian", "trace", "train", "adversarial"),
)


def check(figure, folders):
    assert titles(figure) == [
        "(a) robust train accuracy",
        "(b) robust test accuracy",
        "(c) gradient norm",
        "(d) Hessian trace",
    ]
    assert legend_names(figure) == ["piecewise", "cosine"]
    for axes, source in zip(figure.axes, PANELS, strict=True):
        for label, prefix in (("piecewise", "cifar10-small-hard"), ("cosine", "cifar10-small-cosine")):
            assert_curve(axes, label, table(of(folders, prefix), *source))
    assert "n train 2,000 of 50,000" in caption(figure)


ENTRIES = [Entry("figb7", ["cifar10-small-hard-seed*", "cifar10-small-cosine-seed*"], check)]
