"""What is remembered of a run goes with it."""

import gc
import weakref

import numpy as np

from overfit_lab.config.catalog import FIGURES
from overfit_lab.records.per_run import once_per_run
from overfit_lab.views.diagnosis.diagnose import diagnose
from overfit_lab.views.diagnosis.phases_of import phases_of
from overfit_lab.views.report.page import make_report
from run_factory import make_run


def test_runs_are_let_go_after_diagnosis_report_and_figures(tmp_path):
    """Caches held up to 256 runs with every record of theirs: a process that looked at many grew by all of them."""
    runs = [make_run(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))]
    diagnose(runs)
    make_report(runs, "title")
    FIGURES["onset"](runs)
    alive = [weakref.ref(run) for run in runs]
    del runs
    gc.collect()
    assert [ref() for ref in alive] == [None, None]


def test_a_run_is_asked_once_for_the_same_arguments(tmp_path):
    run, asked = make_run(tmp_path / "run"), []

    @once_per_run
    def answer(run, threshold=1.0):
        asked.append(threshold)
        return np.array([threshold])

    assert answer(run) is answer(run)
    assert answer(run, threshold=2.0) is answer(run, threshold=2.0) is not answer(run)
    assert asked == [1.0, 2.0]
    assert phases_of(run) is phases_of(run)
