"""The phases of a run as its records tell them."""

from __future__ import annotations

import numpy as np

from overfit_lab.metrics.phases import Phases, decays_of, phases
from overfit_lab.runs.reader import Run


def phases_of(run: Run) -> Phases:
    """Whether and from when on a run overfits robustly: :func:`overfit_lab.metrics.phases.phases` of its records.

    Robust train against robust test accuracy, at the epochs that have both; the seed of the simulated curves is fixed,
    so the answer is always the same. A run without evaluations under attack gives not enough evidence.

    Cost: see there; no model is run.
    """
    train = run.series("evaluation", "acc_adv", "train", "adversarial")
    test = run.series("evaluation", "acc_adv", "test", "adversarial")
    both = train.merge(test, on="epoch", suffixes=("_train", "_test"))
    lr = run.series("training", "lr")
    return phases(
        both["epoch"].to_numpy(float),
        both["value_train"].to_numpy(float),
        both["value_test"].to_numpy(float),
        stderr=both["stderr_test"].to_numpy(float),
        decays=decays_of(lr["epoch"].to_numpy(), np.asarray(lr["value"], dtype=float)),
        seed=0,
    )
