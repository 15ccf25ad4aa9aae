"""A probe or its inputs that fail in one of several processes: all of them go on together."""

import pytest
from together import together

from overfit_lab.config.permission import allow
from overfit_lab.probes import snapshot as snapshots
from overfit_lab.records.reader import Run
from overfit_lab.training.run import train_run
from tiny import tiny_config


def failing_in(world, folder, where):
    """A run whose second process cannot make inputs of the training split."""
    plain = snapshots.Snapshot._make

    def make(self, split, inputs, i):
        if split == "train" and self.clock.epoch and world.rank == where and i > 0:
            raise RuntimeError("out of memory, say")
        return plain(self, split, inputs, i)

    snapshots.Snapshot._make = make
    evaluation = {"n_steps": 1, "n_train": 8, "n_test": 16, "chunk": 8}
    probes = {"every": 1, "metrics": ["gradient-norm", "calibration", "failing:Late"], "n": 32}
    allow("failing:Late")
    config = tiny_config("hard", probes=probes, evaluation=evaluation, epochs=2)
    return train_run(config, folder, device="cpu", world=world)


@pytest.mark.slow
def test_several_processes_go_on_together(tmp_path):
    assert together(failing_in, tmp_path / "run", 1, folder=tmp_path / "results") == ["completed", "completed"]
    run = Run.open(tmp_path / "run")
    assert set(run.info["failed_probes"]) <= {"gradient-norm", "late"}
    assert "late" in run.info["failed_probes"]
    assert len(run.series("calibration", "ece", "test", "clean")) == 2
