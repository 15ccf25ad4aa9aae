"""Run folders of a few records with numbers that one can compute on paper."""

from overfit_lab.config import parse_config, to_yaml
from overfit_lab.records.reader import Run
from overfit_lab.records.recorder import to_records
from overfit_lab.records.writer import RunWriter
from overfit_lab.types import Clock, Value
from overfit_lab.views.tables.options import TableOptions

CLEAN, ADV = [0.60, 0.70, 0.80], [0.40, 0.50, 0.45]
"""Accuracies at epochs 1, 2 and 3: the best is epoch 2."""


def on_test(field, value, inputs, n=100):
    return Value(field, value, "test", inputs, "given", n)


def small_run(
    folder, seed=0, labels="hard", *, clean=CLEAN, adv=ADV, val=None, weights="", status="completed", **changes
):
    """A run of three epochs; `weights` also gives it second weights, one hundredth better."""
    content = {"name": "x", "seed": seed, "epochs": 3, "labels": labels, **changes}
    config = parse_config({"data": {"name": "digits"}, **content})
    info = {"status": status, "epoch": 3, "data": {"sizes": {"train": 500, "test": 100}}}
    with RunWriter.create(folder, to_yaml(config), info) as writer:
        for epoch, (c, a) in enumerate(zip(clean, adv, strict=True), start=1):
            clock = Clock(epoch, epoch, 3)
            for name, more in (("evaluation", 0.0), *([(f"evaluation@{weights}", 0.01)] if weights else [])):
                values = [
                    on_test("acc_clean", c + more, "clean"),
                    on_test("acc_adv", a + more, "adversarial"),
                ]
                if val:
                    values.append(Value("acc_adv", val[epoch - 1], "val", "adversarial", "given", 50))
                writer.append(to_records(name, values, clock, None))
    return Run.open(folder)


def measure(run, epoch, probe="robustness", **values):
    """Later records of a run: `{"acc_adv/autoattack": 0.3}` and the like, on `n` samples; the run, read anew."""
    n = values.pop("n", 100)
    inputs = values.pop("inputs", None)
    found = [
        on_test(field, value, inputs or ("clean" if field == "acc_clean" else "adversarial"), n)
        for field, value in values.items()
    ]
    with RunWriter.reopen(run.folder) as writer:
        writer.append_posthoc(to_records(probe, found, Clock(epoch, epoch, 3), 0.1))
    return Run.open(run.folder)


def imported_run(folder, **values):
    """Weights from elsewhere: one checkpoint at epoch 0, measured later or not at all."""
    config = parse_config({"name": "x", "data": {"name": "digits"}})
    info = {"status": "imported", "data": {"sizes": {"train": 500, "test": 100}}}
    RunWriter.create(folder, to_yaml(config), info).close()
    run = Run.open(folder)
    return measure(run, 0, **values) if values else run


def numbers(table, label):
    """The means of a row by "GROUP COLUMN"."""
    (row,) = [row for row in table.rows if row.label == label]
    return {f"{c.group} {c.name}".strip(): cell.mean for c, cell in zip(table.columns, row.cells, strict=True)}


def options(**changes):
    return TableOptions(**changes)
