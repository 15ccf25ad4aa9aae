"""Attacks where gradients vanish, are infinite, or there are too few classes for a loss."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from factories import Scaled
from overfit_lab.config.catalog import ATTACKS
from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.gradient import counting_not_finite
from overfit_lab.methods.attacks.losses import CrossEntropy, LogitsRatio, Margin
from overfit_lab.methods.regularizers.awp import Awp, AwpOptions
from overfit_lab.methods.threat import ThreatModel, brought_to_one, flat_norm
from overfit_lab.seeds import derive_generator

SMALL = 2.0**-70
"""A factor on logits that makes the squares of a gradient's entries 0 in float32."""
K = 4


class Root(nn.Module):
    """A root of each pixel: its gradient at 0 is infinite."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.sqrt())


def network(n_classes=K):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, n_classes))


def images(model, n=24):
    x = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    return x, model(x).argmax(dim=1)


def attacked(name, model, x, loss, norm="l2", **settings):
    given = {"step_size": 0.2, "n_steps": 8} if name == "pgd" else {"n_iter": 8, "n_queries": 20}
    attack = ATTACKS[name](ThreatModel(norm, 0.8), **{**given, **settings})
    return attack(model, x, loss, generator=derive_generator(3))


def test_a_vanishing_gradient_leads_as_far_as_a_large_one():
    model = network()
    x, y = images(model)
    plain = attacked("pgd", model, x, Margin(y))
    assert torch.equal(attacked("pgd", Scaled(model, SMALL), x, Margin(y)), plain)
    assert torch.equal(attacked("pgd", Scaled(model, 1 / SMALL), x, Margin(y)), plain)
    assert torch.allclose(
        attacked("pgd", Scaled(model, SMALL), x, LogitsRatio(y)), attacked("pgd", model, x, LogitsRatio(y))
    )


def test_a_librarys_attack_follows_a_vanishing_gradient_too():
    model = network()
    x, y = images(model)
    small = Scaled(model, SMALL)
    found = attacked("apgd-ce", small, x, CrossEntropy(y))
    assert (model(found).argmax(dim=1) != y).float().mean() > 0.5


def test_awp_follows_a_vanishing_gradient_too():
    moved = []
    for factor in (1.0, SMALL):
        model = network()
        gradients = [factor * torch.ones_like(p) for p in model.parameters() if p.dim() > 1]
        step = SimpleNamespace(model=model, clock=SimpleNamespace(epoch=0), gradients=lambda _, g=gradients: g)
        awp = Awp(AwpOptions(gamma=0.1, start_epoch=0), SimpleNamespace(n_epochs=2))
        with awp.perturbed(step):
            moved.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*moved, strict=True))


def test_lengths_that_could_be_taken_before_are_the_same_to_the_bit():
    stream = torch.Generator().manual_seed(0)
    gradient = torch.randn(300, 3, 4, 4, generator=stream) * torch.logspace(-8, 8, 300)[:, None, None, None]
    x = torch.rand(gradient.shape, generator=stream)
    before = x + 0.1 * gradient / flat_norm(gradient).clamp_min(1e-12)
    assert torch.equal(ThreatModel("l2").ascend(x, gradient, 0.1), before)
    assert not brought_to_one(torch.zeros(2, 3)).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "apgd-t", "fab-t"])
def test_an_infinite_gradient_leaves_images_that_are_images(name, norm):
    """Pixels that are 0 have an infinite gradient; the others still lead somewhere."""
    model = Root(network())
    x, _ = images(model)
    x[:12, :, :2] = 0.0
    y = model(x).argmax(dim=1)
    settings = {"random_start": False} if name == "pgd" else {}
    with counting_not_finite() as counter:
        found = attacked(name, model, x, CrossEntropy(y), norm, **settings)
    assert found.isfinite().all()
    assert (model(found).argmax(dim=1) != y)[:12].any()
    if name == "pgd":
        assert 12 <= counter.count <= len(x) * 8
    elif norm == "l2":
        assert counter.count > 0


def test_without_a_counter_the_count_costs_nothing():
    with counting_not_finite() as outer, counting_not_finite() as inner:
        pass
    assert (outer.count, inner.count) == (0, 0)


@pytest.mark.parametrize(("name", "n_classes"), [("pgd", 2), ("apgd-dlr", 2), ("apgd-t", 3), ("autoattack", 3)])
def test_too_few_classes_are_refused_alike_at_every_door(name, n_classes):
    model = network(n_classes)
    x, y = images(model)
    loss = LogitsRatio(y) if name == "pgd" else CrossEntropy(y)
    least = n_classes + 1
    with pytest.raises(
        ConfigError, match=rf"'.*': needs {least} classes or more, this model has {n_classes}; pgd with"
    ):
        attacked(name, model, x, loss)


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (4, 4), (12, 12), (14, 14), (19, 19), (24, 24), (10, 13), (3, 8)]
)
def test_square_under_l2_takes_images_of_any_size(height, width):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(2 * height * width, K))
    x = torch.rand(8, 2, height, width, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(dim=1)
    found = attacked("square", model, x, CrossEntropy(y), n_queries=30)
    assert ((found - x).flatten(1).norm(dim=1) <= 0.8 + 1e-5).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert Margin(y)(model(found)).mean() > Margin(y)(model(x)).mean() + 0.01
    again = attacked("square", model, x, CrossEntropy(y), n_queries=30)
    assert torch.equal(found, again)


@pytest.mark.parametrize(("height", "width"), [(10, 10), (5, 8)])
def test_our_square_is_the_librarys_where_its_tiles_fill_the_image(height, width):
    from pyautoattack.square import SquareAttack

    from overfit_lab.methods.attacks.square_l2 import search, tiles_fit

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(2 * height * width, K))
        x = torch.rand(20, 2, height, width)
        y = model(x).argmax(dim=1)
        settings = {"p_init": 0.8, "n_queries": 40, "resc_schedule": False, "norm": "L2", "eps": 0.5, "seed": 0}
        attack = SquareAttack(model, device=torch.device("cpu"), **settings)
        attack.init_hyperparam(x)
        torch.manual_seed(1)
        with torch.no_grad():
            _, theirs = attack.attack_single_run(x.clone(), y.clone())
        torch.manual_seed(1)
        ours = search(attack, x, y)
    assert tiles_fit(height, width)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
