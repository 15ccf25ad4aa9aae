"""A dry run refuses in one line what cannot be measured, and leaves no trace on what is measured later."""

import pytest
import torch
from torch import nn

from factories import awkward_model, make_snapshot
from overfit_lab.config.catalog import PROBES
from overfit_lab.config.options import parse_options
from overfit_lab.errors import LostProcessError, ProbeError
from overfit_lab.methods.attacks.base import brief
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.probes.base import Probe, dry_run, run_probe
from overfit_lab.probes.metrics.hessian.piecewise import known_piecewise_linear
from overfit_lab.types import Clock, Measurement

HESSIANS = [{"estimator": name} for name in ("auto", "exact", "sampled", "hutchinson", "hutch++")]
OPTIONS = {
    "hessian": [*HESSIANS, {"density": True, "top_k": 3}],
    "iiw": [{"estimator": name} for name in ("empirical-fisher", "expected-fisher", "pib-reference")],
    "features": [{"tsne": "always"}],
}


def make(name, **options):
    return PROBES[name](parse_options(PROBES[name], options, prefix=name))


def numbers(probe, snapshot):
    measurement, _ = run_probe(probe, snapshot)
    return [
        (value.field, value.split, value.inputs, value.value, value.stderr, value.n) for value in measurement.values
    ]


def model():
    made = awkward_model()
    del made.unused
    return made


@pytest.mark.parametrize(("name", "options"), [(name, o) for name in PROBES for o in OPTIONS.get(name, [{}])])
def test_numbers_after_a_dry_run_are_those_without_it(name, options):
    if options.get("estimator") == "exact":
        options = {**options, "n": 4}
    tried, plain = make_snapshot(model()), make_snapshot(model())
    dry_run(make(name, **options), tried)
    assert not tried._made_inputs
    assert repr(numbers(make(name, **options), tried)) == repr(numbers(make(name, **options), plain))


class Breaks(PROBES["calibration"]):
    name = "breaks"

    def measure(self, snapshot, *, generator):
        torch.rand(3)
        raise self.error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("sizes differ\nand more"), "on this model: sizes differ; leave breaks out of probes"),
        (KeyError("weight"), "on this model: KeyError: 'weight'; leave"),
        (AssertionError(), "on this model: AssertionError; leave"),
        (ProbeError("samples depend on each other"), "on this model: samples depend on each other; leave"),
    ],
)
def test_whatever_a_probe_raises_is_one_line(error, says):
    probe = Breaks()
    Breaks.error = error
    with pytest.raises(ProbeError, match=f"^breaks: cannot be measured {says}") as caught:
        dry_run(probe, make_snapshot())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [ProbeError("breaks: needs 20 samples"), LostProcessError("gone"), KeyboardInterrupt()]
)
def test_what_says_it_already_or_is_no_failure_goes_on_as_it_is(error):
    Breaks.error = error
    with pytest.raises(type(error)) as caught:
        dry_run(Breaks(), make_snapshot())
    assert caught.value is error


class Exponential(torch.autograd.Function):
    """Known forwards alone."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        raise NotImplementedError("no derivative")


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.scale = nn.Linear(64, 4), nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.head(x.flatten(1)) * Exponential.apply(self.scale)


def test_derivatives_are_tried_also_where_the_weights_have_not_moved_yet():
    scaled = Scaled()
    snapshot = make_snapshot(scaled, attack=False)
    snapshot.reference.update({name: p.detach().clone() for name, p in scaled.named_parameters()})
    with pytest.raises(ProbeError, match=r"^iiw: cannot be measured on this model: "):
        dry_run(make("iiw", layers=False), snapshot)


def test_a_dry_run_costs_a_few_samples_and_a_step():
    attack = PGD(ThreatModel(eps=0.1), step_size=0.01, n_steps=50, n_restarts=5, fold=False)
    snapshot = make_snapshot()
    snapshot = type(snapshot).like(snapshot, attack=attack)
    counted = []
    handle = snapshot.model.register_forward_hook(lambda module, args, output: counted.append(len(output)))
    for name in ("calibration", "gradient-norm", "confidence", "memorisation"):
        dry_run(make(name), snapshot)
    handle.remove()
    assert max(counted) <= 8
    assert len(counted) < 60
    short = brief(attack)
    assert (short.n_steps, short.n_restarts, attack.n_steps, attack.n_restarts) == (1, 2, 50, 5)
    assert brief(None) is None


def test_what_a_trial_finds_out_of_a_form_is_not_remembered():
    """The answer on a trial's samples is not that on those of a measurement."""

    class Switch(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 4)

        def forward(self, x):
            z = self.head(x.flatten(1))
            return torch.where(x.flatten(1).mean(dim=1, keepdim=True) > 0.5, z, z.exp())

    bright, dark = torch.full((4, 1, 8, 8), 0.9), torch.full((4, 1, 8, 8), 0.1)
    switch = Switch()
    snapshot = make_snapshot(switch, attack=False)

    class Asks(Probe):
        name, fields = "asks", ()

        def measure(self, snapshot, *, generator):
            self.answers.append(known_piecewise_linear(snapshot.model, self.images)[0])
            return Measurement()

    Asks.answers, Asks.images = [], bright
    dry_run(Asks(), snapshot)
    assert known_piecewise_linear(switch, dark)[0] is False
    assert Asks.answers == [True]
    known_piecewise_linear(switch, dark)
    dry_run(Asks(), snapshot)
    assert Asks.answers == [True, True]
    assert known_piecewise_linear(switch, bright)[0] is False  # remembered from before the trial


def test_the_last_epochs_map_is_not_drawn_in_a_trial(monkeypatch):
    snapshot = make_snapshot()
    snapshot = type(snapshot).like(snapshot, clock=Clock(epoch=0, step=0, n_epochs=0))
    monkeypatch.setattr("overfit_lab.probes.features.tsne", lambda *_, **__: pytest.fail("a map was drawn"))
    dry_run(make("features"), snapshot)
