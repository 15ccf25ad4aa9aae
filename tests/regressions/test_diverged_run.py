"""A run whose weights stop being finite goes on to its end if asked to, with empty values in its records."""

from overfit_lab.records.reader import Run
from overfit_lab.training.run import train_run
from tiny import tiny_config

UNDEFINED = [
    ("hessian", "trace", "train", "adversarial"),
    ("hessian", "top_eigenvalue", "train", "adversarial"),
    ("features", "silhouette", "test", "clean"),
    ("memorisation", "detection_auc", "train", "clean"),
]


def test_probes_do_not_end_a_run_that_diverges(tmp_path):
    """Features raised scikit-learn's ValueError and hessian scipy's ArpackError, either of which ended the run."""
    config = tiny_config(optimizer={"lr": 1e30}, when_diverged="continue")
    assert train_run(config, tmp_path / "run", device="cpu") == "diverged"
    records = Run.open(tmp_path / "run").records.set_index(["probe", "field", "split", "inputs"]).sort_index()
    for key in UNDEFINED:
        values = records.loc[[key], "value"]
        assert len(values) == 2, key
        assert values.isna().all(), key
    assert records.loc[[("memorisation", "share_untouched", "train", "clean")], "value"].notna().all()
