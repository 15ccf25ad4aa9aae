"""Calibration over training of committed runs."""

import numpy as np

from reference_records import Entry, arrays, assert_curve, assert_decays, legend_names, of, table, titles

MODES = {"hard": "hard labels", "smooth": "label smoothing", "sglr": "SGLR"}


def pooled(folders, inputs, epoch):
    """Bins as if the samples of all runs were one set: by sums over bins."""
    total = np.zeros((15, 3))
    for folder in folders:
        for i, (confidence, accuracy, count) in enumerate(
            arrays(folder, "calibration", epoch)[f"reliability-test-{inputs}"]
        ):
            if count:
                total[i] += [confidence * count, accuracy * count, count]
    kept = total[total[:, 2] > 0]
    return kept[:, :2] / kept[:, 2:], kept[:, 2]


def check(figure, folders):
    assert titles(figure) == [
        "(a) clean test images",
        "(b) adversarial test images",
        "(c) reliability, clean test images",
        "(d) reliability, adversarial test images",
    ]
    assert legend_names(figure) == list(MODES.values())
    assert figure.axes[0].get_ylabel() == "expected calibration error"
    assert figure.axes[2].get_ylabel() == "accuracy"
    prefix = folders[0].name.partition("hard")[0]
    for i, inputs in enumerate(("clean", "adversarial")):
        above, below = figure.axes[i], figure.axes[2 + i]
        assert [above.get_xlabel(), below.get_xlabel()] == ["epoch", "confidence"]
        assert_decays(above, folders[0])
        for j, (mode, label) in enumerate(MODES.items()):
            runs = of(folders, f"{prefix}{mode}-")
            errors = table(runs, "calibration", "ece", "test", inputs)
            assert_curve(above, label, errors)
            points, counts = pooled(runs, inputs, errors.index[-1])
            np.testing.assert_allclose(below.collections[j].get_offsets(), points, rtol=1e-5)
            hollow = (below.collections[j].get_facecolor()[:, :3] == 1).all(axis=1)
            np.testing.assert_array_equal(hollow, counts < 10)


ENTRIES = [
    Entry("calibration", [f"{name}-{mode}-seed*" for mode in MODES], check) for name in ("cifar10-small", "digits")
]
