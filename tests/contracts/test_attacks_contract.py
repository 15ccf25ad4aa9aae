"""What holds for every attack that is registered."""

import pytest
import torch
from torch import nn

from overfit_lab.config.catalog import ATTACKS
from overfit_lab.config.options import accepted
from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.seeds import derive_generator

attacks = pytest.mark.parametrize("name", list(ATTACKS))
norms = pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 0.9)])
WITHOUT_DRAWS = ("fab", "fab-t")
"""With one start FAB begins at the image itself."""


def make(name, norm="linf", eps=0.15, **settings):
    offered = {"step_size": eps / 3, "n_steps": 4, "n_iter": 4, "n_queries": 12, **settings}
    return ATTACKS[name](ThreatModel(norm, eps), **accepted(ATTACKS[name], offered))


def example():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 5))
    model[0].bias.requires_grad_(False)
    x = torch.rand(10, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    x[0], x[1] = 0.0, 1.0
    with torch.no_grad():
        y = model.eval()(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    return model.train(), x, CrossEntropy(y)


@attacks
@norms
@pytest.mark.parametrize(
    "settings", [{}, {"random_start": False}, {"n_restarts": 3}, {"n_steps": 0}, {"step_size": 5.0}]
)
def test_stays_in_the_ball_and_in_the_pixel_range(name, norm, eps, settings):
    model, x, loss = example()
    found = make(name, norm, eps, **settings)(model, x, loss, generator=derive_generator(0, "a"))
    delta = (found - x).flatten(1)
    size = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert size.max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert not found.requires_grad


@attacks
@pytest.mark.parametrize("fails", [False, True])
def test_leaves_the_model_as_it_was(name, fails):
    model, x, loss = example()
    model.train()
    model[1].eval()
    model[4].weight.grad = torch.ones_like(model[4].weight)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    x_before = x.clone()

    if fails and ATTACKS[name].adversarial:
        calls = []

        def fail(*_):
            calls.append(1)
            if len(calls) == 4:
                raise RuntimeError("in the fourth pass")

        handle = model.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="in the fourth pass"):
            make(name)(model, x, loss, generator=derive_generator(0, "a"))
        handle.remove()
    else:
        make(name)(model, x, loss, generator=derive_generator(0, "a"))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert flags == [p.requires_grad for p in model.parameters()]
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(model[4].weight.grad, torch.ones_like(model[4].weight))
    assert all(p.grad is None for p in model.parameters() if p is not model[4].weight)
    assert torch.equal(x, x_before)


@attacks
def test_repeats_by_its_generator_and_leaves_the_global_stream_alone(name):
    model, x, loss = example()
    state = torch.get_rng_state()
    first, second, third = (make(name)(model, x, loss, generator=derive_generator(seed, "a")) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert torch.equal(first, third) == (name in WITHOUT_DRAWS)
    assert torch.equal(torch.get_rng_state(), state)


@attacks
@norms
def test_scaled_shrinks_the_ball(name, norm, eps):
    model, _, loss = example()
    x = torch.full((10, 1, 5, 5), 0.5)
    found = make(name, norm, eps).scaled(0.25)(model, x, loss, generator=derive_generator(0, "a"))
    delta = (found - x).flatten(1)
    size = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert size.max() <= 0.25 * eps + 1e-6
    if ATTACKS[name].trains:  # the others move an image no further than they must, or not at all
        assert size.max() > 0.2 * eps
    assert torch.equal(make(name, norm, eps).scaled(0.0)(model, x, loss, generator=derive_generator(0, "a")), x)


@norms
def test_random_starts_fill_the_ball(norm, eps):
    x = torch.full((4000, 1, 3, 3), 0.5)
    delta = (ThreatModel(norm, 0.2).random_start(x, derive_generator(0, "s")) - x).flatten(1)
    if norm == "linf":
        assert abs(delta.mean()) < 0.005
        assert delta.abs().mean().item() == pytest.approx(0.1, abs=0.002)
    else:
        radius = delta.norm(dim=1) / 0.2
        assert (radius**9).mean().item() == pytest.approx(0.5, abs=0.02)  # uniform in volume


def test_no_loss_gradient_moves_nothing_but_the_projection():
    model, x, _ = example()
    attack = ATTACKS["pgd"](ThreatModel("l2", 0.5), step_size=0.1, n_steps=3, random_start=False)
    found = attack(model, x, lambda z: 0 * z.sum(1), generator=derive_generator(0, "a"))
    assert torch.equal(found, x)
