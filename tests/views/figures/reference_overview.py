"""The overview of committed runs."""

from reference_records import Entry, assert_curve, assert_decays, legend_names, of, table, titles

MODES = {"hard": "hard labels", "smooth": "label smoothing", "sglr": "SGLR"}
PANELS = {
    "robust test accuracy": ("evaluation", "acc_adv", "test", "adversarial"),
    "robust train accuracy": ("evaluation", "acc_adv", "train", "adversarial"),
    "clean test accuracy": ("evaluation", "acc_clean", "test", "clean"),
    "training loss (nats)": ("training", "loss", "train", ""),
    "robust test loss (nats)": ("evaluation", "loss_adv", "test", "adversarial"),
    "learning rate": ("training", "lr", "", ""),
    "gradient norm, robust train": ("gradient-norm", "full", "train", "adversarial"),
    "IIW (nats), robust train": ("iiw", "iiw", "train", "adversarial"),
    "Hessian trace, robust train": ("hessian", "trace", "train", "adversarial"),
    "ECE, robust test": ("calibration", "ece", "test", "adversarial"),
    "k-NN accuracy of features": ("features", "knn_acc", "test", "clean"),
}


def check(figure, folders):
    assert [title for title in titles(figure) if title] == list(PANELS)
    assert legend_names(figure) == list(MODES.values())
    for axes, (title, place) in zip(figure.axes, PANELS.items(), strict=False):
        assert axes.get_xlabel() == "epoch"
        assert (axes.get_ylabel() == "accuracy (%)") == ("accuracy" in title)
        assert_decays(axes, folders[0])
        for mode, label in MODES.items():
            assert_curve(axes, label, table(of(folders, f"cifar10-small-{mode}-"), *place))


ENTRIES = [Entry("overview", [f"cifar10-small-{mode}-seed*" for mode in MODES], check)]
