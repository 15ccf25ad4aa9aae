"""Networks drawn at random: every deterministic number is the dense oracle's, or the probe refuses at the start."""

import os
from collections import Counter

import pytest

from zoo.generator import random_network
from zoo.outcomes import ROUNDS, quick_cells_of, report

N_NETWORKS = 500 if os.environ.get("OVERFIT_LAB_ZOO") == "whole" else 40
TOGETHER = 5
DETERMINISTIC = {
    "first": {
        "gradient-norm": {},
        "iiw": {"layers": True},
        "hessian": {**ROUNDS["first"]["hessian"], "top_k": 1},
        "logit-geometry": {"measured": False},
    },
    "second": {"iiw": ROUNDS["second"]["iiw"]},
    "fourth": {"iiw": ROUNDS["fourth"]["iiw"]},
}


@pytest.mark.parametrize("start", range(0, N_NETWORKS, TOGETHER))
def test_random_networks_are_right_or_refused(start, record_property):
    cells = [
        cell for seed in range(start, start + TOGETHER) for cell in quick_cells_of(random_network(seed), DETERMINISTIC)
    ]
    counts = Counter(cell.outcome for cell in cells)
    counts["traces"] = sum(bool(cell.traces) for cell in cells)
    record_property("random networks", dict(counts))
    bad = [cell for cell in cells if not cell.is_good]
    names = dict.fromkeys(cell.network for cell in bad)
    assert not bad, "\n" + "\n".join(line for n in names for line in report([c for c in bad if c.network == n]))
