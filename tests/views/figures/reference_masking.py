"""Signs of masked gradients in committed runs."""

import numpy as np

from reference_records import Entry, arrays, caption, legend_names, line, titles


def check(figure, folders):
    steps, eps, evidence = figure.axes
    assert titles(figure) == ["(a) more steps", "(b) larger ball", "(c) evidence of masking"]
    assert steps.get_ylabel() == "robust test accuracy (%)"
    assert evidence.get_xlabel() == "share of samples (%)"
    assert legend_names(figure) == [folder.name for folder in folders]
    checks = [label.get_text() for label in evidence.get_yticklabels()]
    bars = [drawn for drawn in evidence.get_lines() if len(drawn.get_xdata()) == 1]
    assert len(bars) == sum(len(kept(folder)) for folder in folders)
    for folder in folders:
        found = arrays(folder, "masking", last(folder))
        for axes, key in ((steps, "curve-more-steps"), (eps, "curve-larger-eps")):
            np.testing.assert_allclose(line(axes, folder.name).get_xydata(), found[key][:, :2])
        for name, (share, low, _, limit, _) in kept(folder).items():
            (bar,) = [
                b
                for b in bars
                if b.get_color() == line(steps, folder.name).get_color()
                and abs(b.get_ydata()[0] - checks.index(name)) < 0.4
            ]
            assert bar.get_xdata()[0] == max(share, 0.002)
            assert (bar.get_markerfacecolor() == "white") == (low <= limit)
    assert "exact 95% interval" in caption(figure)
    assert "band from lowest" not in caption(figure)


def last(folder):
    return max(int(path.stem[-4:]) for path in (folder / "arrays").glob("masking-*.npz"))


def kept(folder):
    prefix = "evidence-"
    found = arrays(folder, "masking", last(folder))
    return {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}


ENTRIES = [
    Entry("masking", ["studies/masking/*"], check),
    Entry("masking", ["cifar10-small-hard-seed*", "cifar10-small-sglr-seed*"], check),
]
