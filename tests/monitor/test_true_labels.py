"""A loop whose training labels are noisy: memorisation is measured on untouched and corrupted portions."""

import pytest
import torch
from loops import arrays, stranger

from overfit_lab.config.catalog import TABLES
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.noise import noise_name
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import compare
from overfit_lab.views.diagnosis.diagnose import diagnose
from overfit_lab.views.tables.options import TableOptions


def noisy():
    """Arrays whose first 50 training labels are changed, the labels before, and a test split."""
    (x, y_true), test = arrays()
    y_true = y_true.clone()
    y = y_true.clone()
    y[:50] = (y[:50] + 1) % (int(y.max()) + 1)
    return x, y, y_true, test


def memorised(monitor):
    records = monitor.records
    rows = records[records["probe"] == "memorisation"]
    return {(row["field"], row["inputs"]): (row["value"], row["n"]) for _, row in rows.iterrows()}


def test_true_labels_are_a_third_part_or_an_argument(tmp_path):
    x, y, y_true, test = noisy()
    given = {"n": len(y), "attack": None}
    as_set = torch.utils.data.TensorDataset(x / 255, y)
    monitors = [
        Monitor(stranger(), {"train": (x, y, y_true), "test": test}, folder=tmp_path / "run", **given),
        Monitor(stranger(), (x, y), test, y_true=y_true.numpy(), **given),
        Monitor(stranger(), as_set, test, y_true=y_true.tolist(), **given),
    ]
    for monitor in monitors:
        monitor.epoch_ended()
        monitor.close()
    first, *others = map(memorised, monitors)
    assert first["share_untouched", "clean"][0] == pytest.approx(1 - 50 / len(y))
    assert first["fitted", "clean"][1] == 50
    for other in others:
        assert {key: n for key, (_, n) in other.items()} == {key: n for key, (_, n) in first.items()}
        assert [value for value, _ in other.values()] == pytest.approx([value for value, _ in first.values()])
    findings = diagnose([Run.open(tmp_path / "run")]).findings
    (found,) = [finding for finding in findings if finding.name == "memorisation"]
    assert found.sentence.startswith("Corrupted labels are")


def test_the_share_of_changed_labels_is_known_to_everyone_who_names_the_noise(tmp_path):
    x, y, y_true, test = noisy()
    runs = []
    for name, given in (("changed", y_true), ("same", y), ("unsaid", None)):
        settings = {"probes": [], "method": name, "seed": 0, "folder": tmp_path / name}
        monitor = Monitor(stranger(), {"train": (x, y), "test": test}, y_true=given, **settings)
        monitor.epoch_ended()
        monitor.close()
        runs.append(Run.open(tmp_path / name))
    assert compare(runs)["noise"].tolist() == ["measured 0.25", "none", "unknown"]
    assert [noise_name([run]) for run in runs] == ["25% measured label noise", "no label noise", ""]
    columns = TABLES["label-noise"](runs[:2], TableOptions()).columns
    assert [(column.group, column.name) for column in columns] == [("", "0%"), ("measured label noise", "25%")]
    with pytest.raises(RunFolderError, match=r"label noise of unsaid is not known; Monitor\(y_true=...\) says it"):
        TABLES["label-noise"](runs, TableOptions())


def test_a_part_of_a_data_set_is_kept_with_its_true_labels():
    x, y, y_true, _ = noisy()
    monitor = Monitor(stranger(), torch.utils.data.TensorDataset(x / 255, y), y_true=y_true, probes=[], n=30)
    part = monitor.data.splits["train"]
    everything = Monitor(stranger(), (x, y, y_true), probes=[], n=30).data.splits["train"]
    assert torch.equal(part.y_true, everything.y_true[everything.order[:30]])
    assert torch.equal(part.corrupted, part.y != part.y_true)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda y: y[:-1], r"train y_true has shape \(\d+,\); expected"),
        (lambda y: y / 2, "train y_true: expected integers"),
    ],
)
def test_true_labels_that_do_not_fit_are_refused(wrong, message):
    x, y, y_true, _ = noisy()
    with pytest.raises(ConfigError, match=message):
        Monitor(stranger(), (x, y), y_true=wrong(y_true))
    with pytest.raises(ConfigError, match="given twice"):
        Monitor(stranger(), (x, y, y_true), y_true=y_true)
