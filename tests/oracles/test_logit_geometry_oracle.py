"""Logit geometry against closed forms of affine models, dense Jacobians in float64, and FAB of another library."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pyautoattack.fab_pt import FABAttack_PT
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn
from torch.func import jacrev, vmap

from factories import Scaled, informed_model, make_snapshot
from overfit_lab.config.catalog import PROBES
from overfit_lab.config.options import parse_options
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.probes.base import run_probe
from overfit_lab.probes.metrics.logit_geometry import logit_geometry
from overfit_lab.probes.metrics.minimal_perturbation import minimal_perturbation

NORMS = ("linf", "l2")
ORDER = {"linf": torch.inf, "l2": 2}
DUAL = {"linf": 1, "l2": 2}


def affine(n_classes, dtype=torch.float64):
    """An affine model, grey images so near its edges that pixel bounds play no part, a quarter with wrong labels."""
    stream = torch.Generator().manual_seed(n_classes)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, n_classes)).to(dtype)
    model[1].weight.data = torch.randn(n_classes, 16, generator=stream, dtype=dtype)
    x = 0.5 + 0.03 * torch.randn(40, 1, 4, 4, generator=stream, dtype=dtype)
    model[1].bias.data = -(model[1].weight @ torch.full((16,), 0.5, dtype=dtype))
    y = model(x).argmax(1)
    y[::4] = (y[::4] + 1) % n_classes
    return model, x, y


def exact_radius(model, x, y, norm):
    """Distance to the nearest of the K - 1 hyperplanes, in float64, by loops."""
    w, z = model[1].weight.detach(), model(x).detach()
    radii = []
    for i, label in enumerate(y.tolist()):
        others = [j for j in range(len(w)) if j != label]
        wrong = any(z[i, j] > z[i, label] for j in others)
        to_planes = [(z[i, label] - z[i, j]).item() / (w[label] - w[j]).norm(p=DUAL[norm]).item() for j in others]
        radii.append(0.0 if wrong else min(to_planes))
    return torch.tensor(radii, dtype=torch.float64)


@pytest.fixture(scope="module")
def trained():
    """A ReLU network trained on digits in a second, and 64 images that it did not see."""
    images, y = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16).float().view(-1, 1, 8, 8), torch.tensor(y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(12):
            for index in torch.randperm(1000).split(50):
                optimizer.zero_grad()
                noisy = x[index] + 0.1 * torch.randn_like(x[index])
                nn.functional.cross_entropy(model(noisy), y[index]).backward()
                optimizer.step()
    return model.eval(), x[1000:1064], y[1000:1064]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_of_an_affine_model_the_prediction_is_the_distance_to_the_nearest_plane_and_is_found(norm, n_classes):
    model, x, y = affine(n_classes)
    exact = exact_radius(model, x, y, norm)
    found = logit_geometry(model, x, y, norm=norm, batch_size=16)
    assert 10 <= (exact == 0).sum() < 40
    assert torch.allclose(found.predicted, exact, rtol=1e-10)
    measured = minimal_perturbation(
        model,
        x,
        y,
        ThreatModel(norm, 0.1),
        first=torch.full_like(exact, 0.03),
        direction=found.direction,
        n_bisections=16,
        batch_size=16,
    )
    right = exact > 0
    assert (measured.radius[~right] == 0).all()
    surplus = measured.radius[right] - exact[right]
    assert surplus.min() >= -1e-12
    assert surplus.max() < 2 * 0.03 / 2**12
    assert torch.equal(measured.x_adv[~right], x[~right])


def test_the_nearest_class_need_not_be_the_runner_up():
    """Logits 2, 1, 0; the runner-up's slope differs little, the third class's much."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3)).double()
    model[1].weight.data = torch.tensor([[0.0, 0.0], [0.1, 0.0], [8.0, -8.0]]).double()
    model[1].bias.data = torch.tensor([2.0, 0.95, 0.0]).double()
    x = torch.full((1, 1, 1, 2), 0.5).double()
    found = logit_geometry(model, x, torch.tensor([0]))
    assert found.logit_gap.item() == pytest.approx(1.0)
    assert found.gradient_gap.item() == pytest.approx(0.1)
    assert found.predicted.item() == pytest.approx(2 / 16)


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_are_those_of_the_dense_jacobian(trained, norm):
    model, x, y = trained
    model, x = nn.Sequential(*model).double(), x.double()
    jacobian = vmap(jacrev(lambda image: model(image[None])[0]))(x).flatten(2)
    found = logit_geometry(model, x, y, norm=norm, batch_size=20)
    with torch.no_grad():
        z = model(x)
    model.float()
    for i, label in enumerate(y.tolist()):
        order = [j for j in z[i].argsort(descending=True).tolist() if j != label]
        own, runner = jacobian[i, label], jacobian[i, order[0]]
        assert found.logit_gap[i] == pytest.approx((z[i, label] - z[i, order[0]]).item())
        assert found.gradient_gap[i] == pytest.approx((own - runner).norm(p=DUAL[norm]).item())
        assert found.cosine[i] == pytest.approx((own @ runner / own.norm() / runner.norm()).item())
        radii = [((z[i, label] - z[i, j]) / (own - jacobian[i, j]).norm(p=DUAL[norm])).item() for j in order]
        assert found.predicted[i] == pytest.approx(max(0, min(radii)))


@pytest.mark.parametrize("norm", NORMS)
def test_every_perturbation_that_is_reported_flips_the_answer_within_its_radius_and_the_pixels(trained, norm):
    model, x, y = trained
    guess = logit_geometry(model, x, y, norm=norm)
    threat = ThreatModel(norm, 0.1)
    found = minimal_perturbation(model, x, y, threat, first=guess.predicted, direction=guess.direction)
    with torch.no_grad():
        right, still_right = model(x).argmax(1) == y, model(found.x_adv).argmax(1) == y
    assert right.sum() > 50
    assert not still_right.any()
    sizes = (found.x_adv.double() - x.double()).flatten(1).norm(p=ORDER[norm], dim=1)
    assert torch.allclose(sizes, found.radius, rtol=1e-6)
    assert (found.radius > 0).equal(right)
    assert found.x_adv.min() >= 0
    assert found.x_adv.max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_found_is_no_larger_than_what_fab_finds(trained, norm):
    """FAB (Croce and Hein 2020) with 100 steps towards each class, by its authors' code."""
    model, x, y = trained
    guess = logit_geometry(model, x, y, norm=norm)
    threat = ThreatModel(norm, 0.1)
    radius = minimal_perturbation(model, x, y, threat, first=guess.predicted, direction=guess.direction).radius
    names = {"linf": "Linf", "l2": "L2"}
    fab = FABAttack_PT(
        model,
        n_restarts=1,
        n_iter=100,
        targeted=True,
        n_target_classes=9,
        norm=names[norm],
        eps=100.0,
        seed=0,
        device="cpu",
    )
    theirs = (fab.perturb(x, y) - x).flatten(1).double().norm(p=ORDER[norm], dim=1)
    right = radius > 0
    ratio = radius[right] / theirs[right]
    assert ratio.median() < 1.02
    assert ratio.quantile(0.95) < 1.05
    assert ratio.median() > 0.8


def test_a_poor_guess_costs_rounds_but_is_mended(trained):
    model, x, y = trained
    threat = ThreatModel("linf", 0.1)
    good = minimal_perturbation(model, x, y, threat, first=logit_geometry(model, x, y).predicted).radius
    for guess in (1e-3, 0.9, torch.inf, 0.0):
        poor = minimal_perturbation(
            model, x, y, threat, first=torch.full((len(x),), guess, dtype=torch.float64), n_bisections=18
        ).radius
        assert ((poor == 0) == (good == 0)).all()
        ratio = (poor / good)[good > 0]
        assert 0.95 < ratio.median() < 1.05


def test_what_cannot_be_fooled_has_no_perturbation_and_what_is_not_finite_no_number():
    constant = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    constant[1].weight.data.zero_()
    constant[1].bias.data = torch.tensor([0.0, 1.0, 0.0])
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([1, 0])
    found = logit_geometry(constant, x, y)
    assert found.predicted.tolist() == [torch.inf, 0]
    assert found.cosine.tolist() == [0, 0]
    measured = minimal_perturbation(constant, x, y, ThreatModel(), first=found.predicted)
    assert measured.radius.tolist() == [torch.inf, 0]
    assert torch.equal(measured.x_adv, x)
    constant[1].bias.data[0] = torch.nan
    found = logit_geometry(constant, x, y)
    assert torch.stack([found.predicted, found.logit_gap, found.gradient_gap, found.cosine]).isnan().all()
    assert minimal_perturbation(constant, x, y, ThreatModel(), first=found.predicted).radius.isnan().all()


@pytest.mark.parametrize("factor", [2.0**power for power in (-83, -50, -33, -17, 17, 33)])
@pytest.mark.parametrize("norm", NORMS)
def test_the_scale_of_the_logits_does_not_matter(trained, norm, factor):
    """Gradients of any length: squares of 2^-83 are 0 in float32, and guards against 0 catch what is small.

    A power of 2 changes no digit, so what is compared is not rounded otherwise.
    """
    model, x, y = trained
    plain, scaled = (logit_geometry(net, x, y, norm=norm) for net in (model, Scaled(model, factor)))
    torch.testing.assert_close(scaled.direction, plain.direction, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scaled.cosine, plain.cosine, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(scaled.gradient_gap / factor, plain.gradient_gap, rtol=1e-5, atol=0)
    threat = ThreatModel(norm, eps=0.5)
    settings = {"first": plain.predicted, "n_steps": 6, "n_bisections": 6}
    found = [minimal_perturbation(net, x, y, threat, **settings).radius for net in (model, Scaled(model, factor))]
    torch.testing.assert_close(*found, rtol=1e-3, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_an_infinite_gradient_leaves_a_search(norm):
    """Black pixels behind a root: their gradients count as 0, and the others lead to an error."""
    model, x, y = affine(3, torch.float32)
    rooted = nn.Sequential(Root(), model)
    x[:, :, 0] = 0
    y = rooted(x).argmax(dim=1)
    found = minimal_perturbation(rooted, x, y, ThreatModel(norm), first=torch.full((len(x),), 0.1))
    assert found.x_adv.isfinite().all()
    assert found.radius.isfinite().all()


class Root(nn.Module):
    def forward(self, x):
        return x.sqrt()


def test_a_model_that_cuts_the_way_to_the_image_has_flat_logits():
    class Rounding(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return self.linear((x.flatten(1) * 255).long().float())

    x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([1, 0])
    found = logit_geometry(Rounding(), x, y)
    assert (found.gradient_gap == 0).all()
    assert ((found.predicted == 0) | found.predicted.isinf()).all()


class Counted(nn.Module):
    """A model that counts its calls and the passes back to its input."""

    def __init__(self, model):
        super().__init__()
        self.model, self.n_forward, self.n_backward = model, 0, 0

    def forward(self, x):
        self.n_forward += 1
        if x.requires_grad:
            x = x.clone()
            x.register_hook(self._count)
        return self.model(x)

    def _count(self, gradient):
        self.n_backward += 1


@pytest.mark.parametrize("n_classes", [2, 7])
def test_passes(n_classes):
    """Each batch: one forward and K backward passes; for the search one more forward, then two climbs a radius."""
    model, x, y = affine(n_classes)
    counted = Counted(model)
    first = logit_geometry(counted, x, y, batch_size=20).predicted
    assert (counted.n_forward, counted.n_backward) == (2, 2 * n_classes)
    counted.n_forward = counted.n_backward = 0
    minimal_perturbation(counted, x, y, ThreatModel(), first=first, n_steps=5, n_bisections=4, batch_size=20)
    assert (counted.n_forward, counted.n_backward) == (2 * (1 + 4 * 13), 2 * 4 * 2 * 5)


def probe(**options):
    cls = PROBES["logit-geometry"]
    return cls(parse_options(cls, options, prefix="logit-geometry"))


def test_the_probe_reports_means_medians_and_how_they_agree(trained):
    model, x, y = trained
    snapshot = replace(make_snapshot(attack=True), model=model)
    snapshot.data.splits["test"].x.copy_((x[:40] * 255).to(torch.uint8))
    snapshot.data.splits["test"].y.copy_(y[:40])
    measurement, _ = run_probe(probe(n=40), snapshot)
    found = {value.field: value for value in measurement.values}
    table = measurement.arrays["geometry-test-clean"]
    assert table.shape == (40, 5)
    gap, _, _, predicted, measured = table.T
    right = gap > 0
    assert found["measured"].value == pytest.approx(measured.mean())
    assert found["measured"].stderr == pytest.approx(measured.std(ddof=1) / 40**0.5)
    assert found["predicted_median"].value == pytest.approx(np.median(predicted))
    assert found["ratio"].n == found["rank_correlation"].n == right.sum()
    assert found["ratio"].value == pytest.approx(np.median(measured[right] / predicted[right]))
    assert found["rank_correlation"].value == pytest.approx(spearmanr(predicted[right], measured[right])[0])
    assert found["rank_correlation"].value > 0.8
    plain, _ = run_probe(probe(n=40, measured=False), snapshot)
    assert {v.field for v in plain.values} == {v.field for v in measurement.values} - {
        "measured",
        "measured_median",
        "ratio",
        "rank_correlation",
    }
    assert np.array_equal(plain.arrays["geometry-test-clean"], table[:, :4])


def test_the_norm_is_that_of_the_attack_unless_one_is_asked_for():
    euclidean = PGD(ThreatModel("l2", 0.5), step_size=0.1, n_steps=1)
    wide, narrow, bare = (make_snapshot(informed_model(), attack=attack) for attack in (True, True, False))
    wide = replace(wide, attack=euclidean)

    def medians(snapshot, **options):
        values = run_probe(probe(n=40, n_bisections=5, **options), snapshot)[0].values
        return [value.value for value in values if value.field.endswith("_median")]

    assert medians(wide) == medians(narrow, norm="l2")
    assert medians(narrow) == medians(wide, norm="linf")
    assert medians(narrow)[0] < medians(wide)[0]
    assert medians(bare)[0] == medians(narrow)[0]
