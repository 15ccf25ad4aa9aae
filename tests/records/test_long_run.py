"""200 epochs of 50,000 samples, every probe at each: what they take on disk, and what following them takes in memory.

Nothing is trained for so long. Two epochs of a network with the paper's layers show which rows and arrays every probe
writes; the epochs of the long run have as many of them with other digits, at the paper's sizes, through the writer of
every run.
"""

import gc
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from overfit_lab.config import apply_overrides, to_yaml
from overfit_lab.config.recipes import recipe
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.records.records import Record
from overfit_lab.records.writer import RunWriter
from overfit_lab.training.run import train_run
from overfit_lab.views.live.following import Followed
from overfit_lab.views.live.runs_below import Watched
from tiny import METRICS

EPOCHS, STEPS = 200, 391
"""The paper's epochs, and the steps of one: 50,000 images in batches of 128."""
N, FEW = 1000, 37
"""Samples of a probe in the recipe, and in the run that shows what is written: there every length of 37 is theirs."""
MOST_BYTES = 20e6
BLOCK = 4096
"""What a file system gives to a file is whole blocks."""
MOST_GROWN = 1.5e6
"""Bytes that watching may grow by from epoch 50 to 200, whose records are 5 MB on disk."""


def every_probe(*changes):
    """The paper's recipe, measured at every epoch by every probe there is."""
    return apply_overrides(
        recipe("paper-cifar10-hard"), [f"probes.metrics=[{','.join(METRICS)}]", "probes.every=1", *changes]
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What is written at an epoch within a run and at its last: arrays and records by probe, in order."""
    folder = tmp_path_factory.mktemp("shown") / "run"
    small = ("data={name: digits, n_train: 64, n_test: 64}", "model.width=2", "attack.n_steps=1", "epochs=2")
    quick = (f"probes.n={FEW}", "evaluation.n_steps=1", "schedule=constant", "compute.compile=false")
    options = "probes.options={hessian: {max_probes: 2}, logit-geometry: {n_steps: 1, n_bisections: 1}}"
    train_run(every_probe(*small, *quick, options), folder, device="cpu")
    run = Run.open(folder)
    assert not run.info.get("failed_probes")
    return {epoch: _at(run, epoch) for epoch in (1, 2)}


def _at(run, epoch):
    rows = [Record(**row) for row in run.records.drop(columns="run").to_dict("records") if row["epoch"] == epoch]
    return {
        probe: (run.arrays(probe, epoch), [row for row in rows if row.probe == probe])
        for probe in dict.fromkeys(row.probe for row in rows)
    }


def drawn(array, generator):
    """Random numbers of the array's kind at the recipe's number of samples: nothing that could be packed."""
    shape = [N if size == FEW else size for size in array.shape]
    if array.dtype.kind == "f":
        return generator.normal(size=shape).astype(array.dtype)
    return generator.integers(0, 10, size=shape).astype(array.dtype)


def write(writer, shown, epochs, generator):
    """Epochs of a long run; an epoch's records go at once, so that the disk is waited for less often."""
    for epoch in epochs:
        parts = shown[2 if epoch == EPOCHS else 1]
        for probe, (arrays, _) in parts.items():
            if arrays:
                writer.save_arrays(probe, epoch, {name: drawn(array, generator) for name, array in arrays.items()})
        writer.append([like(row, epoch, generator) for _, rows in parts.values() for row in rows])


def like(row, epoch, generator):
    """The record at another epoch: every digit of its numbers is another."""
    factors = dict(zip(("value", "stderr", "seconds"), generator.uniform(0.9, 1.1, 3), strict=True))
    numbers = {
        name: float(getattr(row, name)) * factor for name, factor in factors.items() if getattr(row, name) is not None
    }
    n = N if row.n == FEW else row.n
    return replace(row, epoch=epoch, step=STEPS * epoch, n=n, **numbers)


@pytest.fixture(scope="module")
def followed(tmp_path_factory, shown):
    """The folder of a long run, what watching it has allocated at some epochs, and the last view."""
    folder, generator = tmp_path_factory.mktemp("long") / "run", np.random.default_rng(0)
    info = {"name": "run", "status": "running", "decay_epochs": [100, 150]}
    allocated, written = {}, 0
    with RunWriter.create(folder, to_yaml(every_probe()), info) as writer:
        watched = Watched(folder)
        for epoch in (20, 50, 100, 150, EPOCHS):
            write(writer, shown, range(written + 1, epoch + 1), generator)
            written = epoch
            (view,) = watched.look()
            if epoch == 50:
                tracemalloc.start()
            gc.collect()
            allocated[epoch] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return folder, allocated, view


def test_every_probe_is_there_at_full_size(shown, followed):
    run = Run.open(followed[0])
    assert set(METRICS) - {"phases"} <= set(run.records["probe"])
    assert len(run.records) >= EPOCHS * sum(len(rows) for _, rows in shown[1].values())
    assert run.epochs_with_arrays("confidence") == list(range(1, EPOCHS + 1))
    assert {len(array) for array in run.arrays("confidence", EPOCHS).values()} == {N}
    assert followed[2].epoch == EPOCHS


def test_records_of_two_hundred_epochs_stay_small(followed):
    sizes = [path.stat().st_size for path in followed[0].rglob("*") if path.is_file()]
    assert sum(sizes) > 10e6  # as it is made to be: nothing of it can be packed
    assert sum(-(-size // BLOCK) * BLOCK for size in sizes) < MOST_BYTES


def test_watching_does_not_grow_with_the_run(followed):
    allocated = followed[1]
    assert 0 < allocated[EPOCHS] - allocated[50] < MOST_GROWN


def test_a_look_at_a_long_run_takes_no_more_memory_than_one_at_a_short_one(tmp_path, followed):
    """Its 6 MB of lines would be 20 MB of records at once."""
    short = shutil.copytree(followed[0], tmp_path / "short", ignore=shutil.ignore_patterns("arrays"))
    with open(layout.records_path(short), "r+b") as file:
        file.truncate(sum(len(file.readline()) for _ in range(10)))
    assert _peak_of_a_look(followed[0]) < _peak_of_a_look(short) + 4e6


def _peak_of_a_look(folder):
    run = Followed(folder)
    tracemalloc.start()
    run.look()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
