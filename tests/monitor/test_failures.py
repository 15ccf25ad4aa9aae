"""What a monitor refuses when it is made, and what it does about a probe that fails later."""

import pytest
import torch
from loops import arrays, plain_loop, stranger
from torch import nn
from torch.nn import functional

from failing import Late, Never
from overfit_lab.config.permission import allow
from overfit_lab.errors import ProbeError
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.reader import Run

LATE = "failing:Late"


@pytest.fixture(autouse=True)
def _allowed():
    allow(LATE)
    allow("failing:Never")


def test_a_loop_goes_on_without_a_probe_that_fails(tmp_path, capsys):
    train, test = arrays()
    alone, watched = plain_loop(stranger(), train), stranger()
    monitor = Monitor(watched, train, test, probes=[LATE, "calibration"], n=30, folder=tmp_path / "run")
    assert dict(monitor.failed) == {}
    plain_loop(watched, train, monitor)
    monitor.close()
    assert all(torch.equal(value, watched.state_dict()[name]) for name, value in alone.state_dict().items())
    assert dict(monitor.failed) == {"late": "no more than one epoch"}
    records = monitor.records
    late = records[records["probe"] == "late"]
    assert late[["epoch", "field"]].values.tolist() == [[1, "epoch"], [2, "failed"], [3, "failed"]]
    assert len(records[(records["probe"] == "calibration") & (records["field"] == "ece")]) == 3
    said = capsys.readouterr().err.splitlines()
    assert said == ["overfit-lab: late failed at epoch 2, training goes on: no more than one epoch"]
    info = Run.open(tmp_path / "run").info
    assert (info["status"], info["failed_probes"]["late"]["epoch"]) == ("completed", 2)


def test_a_strict_monitor_raises(tmp_path):
    train, test = arrays()
    monitor = Monitor(stranger(), train, test, probes=[LATE], n=30, strict=True)
    monitor.epoch_ended()
    with pytest.raises(RuntimeError, match="no more than one epoch"):
        monitor.epoch_ended()
    assert Late.name not in monitor.failed


class Stubborn(PGD):
    """An attack that fails when the model has been trained for a while."""

    def __call__(self, model, x, loss, *, generator, start=None):
        if len(x) > 8:
            raise RuntimeError("cannot find its step size")
        return super().__call__(model, x, loss, generator=generator, start=start)


def test_clean_accuracy_is_measured_where_the_attack_fails(capsys):
    train, test = arrays()
    attack = Stubborn(ThreatModel(eps=0.1), step_size=0.05, n_steps=2)
    monitor = Monitor(stranger(), train, test, probes=["confidence"], attack=attack, n=30)
    monitor.epoch_ended()
    monitor.epoch_ended()
    fields = monitor.records[monitor.records["probe"] == "evaluation"]["field"]
    assert set(fields) == {"acc_clean", "loss_clean", "failed"}
    assert dict(monitor.failed) == dict.fromkeys(("evaluation", "confidence"), "cannot find its step size")
    assert len(capsys.readouterr().err.splitlines()) == 2
    strict = Monitor(stranger(), train, test, probes=[], attack=attack, n=30, strict=True)
    with pytest.raises(RuntimeError, match="step size"):
        strict.epoch_ended()


class Cannot(PGD):
    def __call__(self, *_, **__):
        raise TypeError("'NoneType' object is not callable")


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))


class Gives(nn.Module):
    """A model that gives something for images."""

    def __init__(self, output):
        super().__init__()
        self.head, self.output = nn.Linear(64, 10), output

    def forward(self, x):
        return self.output(self.head(x.flatten(1)))


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        (lazy, {}, "the model's '1.weight' has no values yet; call the model once before the monitor"),
        (lambda: nn.Sequential(nn.LazyBatchNorm2d(affine=False), *stranger()), {}, "'0.running_mean' has no values"),
        (lambda: stranger().to("meta"), {}, "the model's '1.weight' has no values, it is on the device 'meta'"),
        (lambda: Gives(lambda z: None), {}, "Gives: gives NoneType for one image; expected logits"),
        (lambda: Gives(lambda z: (z, z)), {}, "Gives: gives tuple for one image"),
        (lambda: Gives(lambda z: {"z": z}), {}, "Gives: gives dict for one image"),
        (lambda: Gives(lambda z: z[:, :1]), {}, r"Gives: gives a tensor of shape \(1, 1\)"),
        (lambda: Gives(lambda z: z.missing), {}, "cannot be called with images of shape .*no attribute 'missing'"),
        (lambda: Gives(lambda z: {}["logits"]), {}, "cannot be called with images of shape .*logits"),
        (stranger, {"probes": ["failing:Never"]}, "never: cannot be measured on this model: IndexError: index 7"),
        (stranger, {"probes": [], "attack": Cannot(ThreatModel(), step_size=0.1, n_steps=1)},
         "evaluation: cannot be measured on this model: TypeError: 'NoneType' object is not callable; give another"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_one_line_when_the_monitor_is_made(tmp_path, model, options, says):
    train, test = arrays()
    with pytest.raises(ProbeError, match=says) as caught:
        Monitor(model(), train, test, n=20, folder=tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert Never.name == "never"


def test_a_lazy_model_that_was_called_once_is_measured():
    train, test = arrays()
    model = lazy()
    functional.cross_entropy(model(train[0][:2] / 255), train[1][:2])
    Monitor(model, train, test, n=20).epoch_ended()
