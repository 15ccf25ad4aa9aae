"""A stranger's plain PyTorch loop with our probes, and proof that they do not disturb it."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from overfit_lab.attacks.pgd import PGD
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.monitor import Monitor
from overfit_lab.runs.reader import Run
from overfit_lab.threat import ThreatModel
from overfit_lab.training.events import EpochEnded

EPOCHS = 3


def arrays():
    images, y = load_digits(return_X_y=True)
    x = torch.tensor(images / 16 * 255).round().to(torch.uint8).view(-1, 1, 8, 8)
    y = torch.tensor(y)
    return (x[:200], y[:200]), (x[200:300], y[200:300])


def stranger():
    """Not one of our networks: dropout, in-place ReLU, its own names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 24),
            nn.BatchNorm1d(24),
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(24, 10),
        )


def plain_loop(model, train, monitor=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(EPOCHS):
            model.train()
            for index in torch.randperm(len(train[1])).split(50):
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(train[0][index] / 255), train[1][index])
                loss.backward()
                if monitor is not None:
                    monitor.gradients_ready(loss)
                optimizer.step()
            if monitor is not None:
                monitor.epoch_ended(lr=0.1)
    return model


def test_a_plain_loop_is_measured_and_not_disturbed(tmp_path):
    train, test = arrays()
    alone = plain_loop(stranger(), train)
    model = stranger()
    attack = PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=2)
    probes = ["gradient-norm", "iiw", "calibration", "confidence", "hessian", "features"]
    monitor = Monitor(
        model,
        train,
        test,
        probes=probes,
        attack=attack,
        penultimate="5",
        n=60,
        batch_size=50,
        folder=tmp_path / "mine",
        options={"hessian": {"max_probes": 3}},
    )
    heard = []
    monitor.on(EpochEnded, heard.append)
    plain_loop(model, train, monitor)
    monitor.close()
    for name, value in alone.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert len(heard) == EPOCHS
    records = monitor.records
    assert {*probes, "evaluation", "training"} == set(records["probe"])
    assert sorted(records["epoch"].unique()) == [1, 2, 3]
    iiw = records[(records["probe"] == "iiw") & (records["field"] == "iiw")]
    assert (iiw["value"] > 0).all()
    run = Run.open(tmp_path / "mine")
    assert run.info["status"] == "completed"
    assert len(run.records) == len(records)
    accuracy = run.series("evaluation", "acc_clean", "test", "clean")["value"]
    with torch.no_grad():
        model.eval()
        own = (model(test[0] / 255).argmax(1) == test[1]).float()
    order = monitor.data.splits["test"].order[:60]
    assert accuracy.iloc[-1] == pytest.approx(own[order].mean().item())


def test_the_free_gradient_norm_is_that_of_the_step(tmp_path):
    train, _ = arrays()
    model = stranger()
    monitor = Monitor(model, train, probes=[])
    model.train()
    norms = []
    for index in torch.arange(200).split(100):
        model.zero_grad()
        functional.cross_entropy(model(train[0][index] / 255), train[1][index]).backward()
        norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
        monitor.gradients_ready()
    monitor.epoch_ended()
    records = monitor.records
    row = records[records["field"] == "grad_norm_minibatch"].iloc[0]
    assert row["value"] == pytest.approx(sum(norms) / 2, rel=1e-6)
    assert not (records["field"] == "loss").any()


def test_bad_input_is_refused_before_anything_is_made(tmp_path):
    train, test = arrays()
    with pytest.raises(ConfigError, match="did you mean calibration"):
        Monitor(stranger(), train, test, probes=["calibratoin"], folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "theirs.txt").write_text("keep")
    with pytest.raises(RunFolderError):
        Monitor(stranger(), train, test, folder=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["theirs.txt"]
