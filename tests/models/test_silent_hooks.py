"""A measurement is of the network's function: hooks that a user put on gradients neither change it nor are called."""

import pytest
import torch
from torch import nn

from factories import awkward_model, make_snapshot
from overfit_lab.config.catalog import PROBES
from overfit_lab.models.isolation import isolated
from overfit_lab.probes.base import run_probe


def on_parameters(model, called):
    for p in filter(lambda p: p.requires_grad, model.parameters()):
        p.register_hook(lambda g: called.append("parameter") or g * 0.5)


def on_modules(model, called):
    for module in model.modules():
        module.register_full_backward_hook(
            lambda m, i, o: called.append("module") or tuple(g * 2 for g in i if g is not None)
        )
        module.register_full_backward_pre_hook(lambda m, o: called.append("pre"))


def numbers(name, options, model):
    measured, _ = run_probe(PROBES[name](PROBES[name].Options(**options)), make_snapshot(model))
    return [(value.field, value.inputs, value.value) for value in measured.values]


@pytest.mark.parametrize("put", [on_parameters, on_modules])
@pytest.mark.parametrize(
    ("name", "options"),
    [("gradient-norm", {}), ("iiw", {}), ("hessian", {"n": 20, "max_probes": 3}), ("logit-geometry", {"n": 20})],
)
def test_hooks_on_gradients_are_silent(put, name, options):
    model, hooked, called = awkward_model(), awkward_model(), []
    for one in (model, hooked):
        del one.unused
    put(hooked, called)
    assert numbers(name, options, hooked) == numbers(name, options, model)
    assert not called


def fails_after(function):
    function()
    raise ZeroDivisionError


def test_they_speak_again_afterwards_also_when_it_raises():
    model, called = nn.Linear(3, 2), []
    model.weight.register_hook(lambda g: called.append(1))
    handle = model.register_full_backward_hook(lambda *_: called.append(2))
    x = torch.ones(1, 3, requires_grad=True)
    with pytest.raises(ZeroDivisionError), isolated(model), isolated(model):
        fails_after(model(x).sum().backward)
    assert not called
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert sorted(called) == [1, 2]
    handle.remove()
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert sorted(called) == [1, 1, 2]
