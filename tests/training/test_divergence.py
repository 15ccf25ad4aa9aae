"""A run whose loss or weights are no longer finite ends as diverged, with the step; nothing is lost that was finite."""

import json

import pytest
import torch
from torch import nn

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from overfit_lab.errors import RunFolderError
from overfit_lab.models.fitness import not_finite_weights
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.records.status import status_of
from overfit_lab.training.checkpoint import load_checkpoint
from overfit_lab.training.divergence import first_not_finite
from overfit_lab.training.run import train_run
from tiny import tiny_config


def train_exploding(config, folder, step, monkeypatch, **options):
    """Train; the weights are infinite from before that step on."""
    from overfit_lab.training import loop

    before = loop.take_step

    def take_step(session, batch, bus, n):
        if session.clock.step + 1 == step:
            with torch.no_grad():
                next(session.model.parameters()).fill_(float("nan"))
        before(session, batch, bus, n)

    monkeypatch.setattr(loop, "take_step", take_step)
    try:
        return train_run(config, folder, device="cpu", **options)
    finally:
        monkeypatch.setattr(loop, "take_step", before)


QUIET = {"every": 1, "metrics": ["calibration"], "n": 16}


def test_the_step_is_told_and_finite_weights_stay(tmp_path, monkeypatch):
    """It was ``completed``, and its last checkpoint held weights of NaN."""
    folder = tmp_path / "run"
    config = tiny_config("hard", epochs=5, probes=QUIET)  # three steps an epoch
    assert train_exploding(config, folder, 8, monkeypatch) == "diverged"
    info = layout.read_info(folder)
    assert info["status"] == "diverged"
    assert info["diverged"] == {"step": 8, "epoch": 3}
    assert info["epoch"] == 3
    last = load_checkpoint(layout.resumable_path(folder))
    assert last.clock.epoch == 2
    losses = Run(folder).records.query("probe == 'training' and field == 'loss'").set_index("epoch")["value"]
    assert losses.notna().to_dict() == {1: True, 2: True, 3: False}
    with pytest.raises(RunFolderError, match=r"diverged at step 8, in epoch 3.*of epoch 2, are finite; resumed, it wo"):
        train_run(config, folder, resume=True, device="cpu")


def test_resumed_from_the_finite_weights_it_goes_on_where_that_is_asked_for(tmp_path, monkeypatch):
    config = tiny_config("hard", epochs=5, probes=QUIET)
    train_exploding(config, tmp_path / "run", 8, monkeypatch)
    other = config.model_copy(update={"when_diverged": "continue"})
    assert train_run(other, tmp_path / "run", resume=True, device="cpu") == "completed"  # nothing explodes this time
    assert status_of(tmp_path / "run") == "completed"
    assert layout.read_info(tmp_path / "run")["diverged"] is None


def test_it_goes_on_to_the_end_where_that_is_asked_for(tmp_path, monkeypatch):
    config = tiny_config("hard", epochs=4, probes=QUIET, when_diverged="continue")
    assert train_exploding(config, tmp_path / "run", 5, monkeypatch) == "diverged"
    info = layout.read_info(tmp_path / "run")
    assert (info["diverged"], info["epoch"]) == ({"step": 5, "epoch": 2}, 4)


def test_weights_that_the_last_step_of_an_epoch_spoils(tmp_path):
    """Every loss was finite, and the weights after the step are not."""
    config = tiny_config("hard", epochs=3, probes={}, optimizer={"lr": 1e38, "momentum": 0.0}, batch_size=96)
    assert train_run(config, tmp_path / "run", device="cpu") == "diverged"
    assert layout.read_info(tmp_path / "run")["diverged"]["epoch"] <= 2


def test_the_command_says_so_in_one_line_and_exits_with_1(tmp_path, capfd):
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_config("hard", epochs=3, probes={}, optimizer={"lr": 1e30})))
    arguments = ["train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert run(arguments) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("overfit-lab: ")]
    assert "diverged at step" in lines[-1]
    assert run([*arguments, "--resume"]) == 2
    assert "would diverge again" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["probe", "evaluate", "check"])
def test_weights_that_are_not_finite_are_said_by_whatever_loads_them(command, tmp_path, capfd):
    folder = tmp_path / "run"
    config = tiny_config("hard", epochs=1, probes={}, optimizer={"lr": 1e30}, when_diverged="continue")
    train_run(config, folder, device="cpu")
    capfd.readouterr()
    more = {"probe": ["--metric", "calibration"], "evaluate": ["--n", "8"], "check": ["--n", "8", "--queries", "5"]}
    status = run([command, str(folder), *more[command]])
    err = capfd.readouterr().err
    assert status in (0, 2)
    assert "unexpected" not in err
    assert "the weights are not finite (" in err


def test_first_not_finite():
    values = [torch.tensor(v) for v in (1.0, float("inf"), float("nan"))]
    assert first_not_finite(values) == 1
    assert first_not_finite(values[:1]) is None
    assert first_not_finite([]) is None


def test_not_finite_weights_names_them():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert not_finite_weights(model) == []
    model[1].running_var[0] = float("nan")
    assert not_finite_weights(model) == ["1.running_var"]


def test_a_monitor_says_so_too(tmp_path, capfd):
    torch.manual_seed(0)
    x, y = torch.rand(40, 1, 4, 4), torch.arange(40) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    monitor = Monitor(model, (x, y), probes=[], folder=tmp_path / "mine")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(3):
        for step in range(4):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y) * (float("inf") if (epoch, step) == (1, 2) else 1.0)
            loss.backward()
            monitor.gradients_ready(loss)
            optimizer.step()
        monitor.epoch_ended()
    monitor.close()
    info = json.loads((tmp_path / "mine" / "run.json").read_text())
    assert (info["status"], info["diverged"]) == ("diverged", {"step": 7, "epoch": 2})
    assert capfd.readouterr().err.count("the weights are not finite since step 7") == 1


def test_a_cell_of_a_sweep_that_diverged_fails_with_the_step(tmp_path, monkeypatch):
    """Its state is ``diverged``, also where a sweep is gone on with: it is not trained again."""
    from overfit_lab.config import to_dict
    from overfit_lab.errors import FailedError
    from overfit_lab.sweeps import work
    from overfit_lab.sweeps.beat import claim, release
    from overfit_lab.sweeps.manifest import SweepCell
    from overfit_lab.sweeps.spec import Resources
    from overfit_lab.sweeps.status import cell_status

    config = tiny_config("hard", epochs=3, probes={}, optimizer={"lr": 1e30})
    job = work.CellJob("cell", tmp_path / "cell", to_dict(config), Resources(), device="cpu")
    token = claim(job.beat).token
    monkeypatch.setattr(work, "_print_into", lambda path: path.parent.mkdir(exist_ok=True))
    with pytest.raises(FailedError, match="diverged at step 2, in epoch 1"):
        work.attempt(lambda *_: None, job, token)
    release(job.beat, token, "failed", "the reason")
    cell = SweepCell("cell", "cell", {}, 0, to_dict(config))
    assert cell_status(tmp_path, cell).state == "diverged"
    assert cell_status(tmp_path, cell).failure == "the reason"
    token = claim(job.beat).token
    with pytest.raises(RunFolderError, match="it would diverge again"):
        work.attempt(lambda *_: None, job, token)


def test_dynamics_of_samples_hold_what_was_finite_and_are_written_again(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    config = tiny_config("hard", epochs=4, probes={})  # three steps an epoch, of 32 samples
    assert train_exploding(config, folder, 8, monkeypatch) == "diverged"
    found = Run(folder).dynamics["adversarial"]
    assert found.epochs == (1, 2, 3)
    assert (~torch.tensor(found.loss.astype("f4")).isnan()).sum(dim=0).tolist() == [96, 96, 32]
    assert (found.predicted == 255).sum() == 64
    assert all(torch.tensor(array).isfinite().all() for array in found.running.values())
    going_on = config.model_copy(update={"when_diverged": "continue"})
    assert train_run(going_on, folder, resume=True, device="cpu") == "completed"
    found = Run(folder).dynamics["adversarial"]
    assert found.epochs == (1, 2, 3, 4)
    assert not torch.tensor(found.loss.astype("f4")).isnan().any()
    assert set(found.running["n_epochs"]) == {4}
