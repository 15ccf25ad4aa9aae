"""PGD against a naive transcription, a closed form, and its own promises."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.seeds import derive_generator

B, K = 12, 4


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(36, K),
        )
        model(torch.rand(64, 2, 5, 5))
    return model


def example():
    stream = torch.Generator().manual_seed(1)
    return torch.rand(B, 2, 5, 5, generator=stream), torch.randint(K, (B,), generator=stream)


def loss_of(y):
    return lambda z: functional.cross_entropy(z, y, reduction="none")


def naive_pgd(model, x, y, norm, eps, step, n_steps, start):
    """One sample at a time, with the mean loss and plain backward passes."""
    rows = []
    for i in range(len(x)):
        image, origin = start[i].clone(), x[i]
        for _ in range(n_steps):
            image = image.detach().requires_grad_()
            functional.cross_entropy(model(image[None]), y[i : i + 1]).backward()
            g = image.grad
            with torch.no_grad():
                if norm == "linf":
                    image = image + step * torch.sign(g)
                    image = torch.min(torch.max(image, origin - eps), origin + eps)
                else:
                    image = image + step * g / g.norm()
                    delta = image - origin
                    if delta.norm() > eps:
                        delta = delta * eps / delta.norm()
                    image = origin + delta
                image = image.clamp(0, 1)
        rows.append(image.detach())
    return torch.stack(rows)


@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", 0.1, 0.03), ("l2", 0.7, 0.2)])
def test_equals_a_naive_transcription_from_the_same_start(norm, eps, step):
    model, (x, y) = net().eval(), example()
    threat = ThreatModel(norm, eps)
    start = threat.random_start(x, derive_generator(0, "start"))
    found = PGD(threat, step_size=step, n_steps=6)(model, x, loss_of(y), generator=derive_generator(0, "start"))
    expected = naive_pgd(model, x, y, norm, eps, step, 6, start)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_reaches_the_worst_case_of_a_linear_model():
    """For two classes and logits W x the worst l_inf perturbation moves each pixel by eps against the margin."""
    stream = torch.Generator().manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    x = 0.3 + 0.4 * torch.rand(B, 1, 4, 4, generator=stream)
    y = torch.randint(2, (B,), generator=stream)
    w = (model[1].weight[1 - y] - model[1].weight[y]).detach()
    margin = (model(x)[torch.arange(B), 1 - y] - model(x)[torch.arange(B), y]).detach()
    worst = margin + 0.1 * w.abs().sum(1)
    attack = PGD(ThreatModel("linf", 0.1), step_size=0.025, n_steps=10)
    z = model(attack(model, x, loss_of(y), generator=derive_generator(0, "a"))).detach()
    torch.testing.assert_close(z[torch.arange(B), 1 - y] - z[torch.arange(B), y], worst, atol=1e-5, rtol=0)


def test_restarts_keep_the_worst_image_of_each_sample():
    model, (x, y) = net().eval(), example()
    stream = derive_generator(0, "r")
    single = PGD(ThreatModel("linf", 0.1), step_size=0.02, n_steps=2)
    losses = [loss_of(y)(model(single(model, x, loss_of(y), generator=stream))).detach() for _ in range(4)]
    several = PGD(ThreatModel("linf", 0.1), step_size=0.02, n_steps=2, n_restarts=4)
    found = loss_of(y)(model(several(model, x, loss_of(y), generator=derive_generator(0, "r")))).detach()
    torch.testing.assert_close(found, torch.stack(losses).amax(0))


def test_more_steps_do_more_harm():
    model, (x, y) = net().eval(), example()
    means = []
    for n_steps in (0, 1, 5, 20):
        attack = PGD(ThreatModel("linf", 0.1), step_size=0.02, n_steps=n_steps, random_start=False)
        means.append(loss_of(y)(model(attack(model, x, loss_of(y), generator=derive_generator(0, "a")))).mean().item())
    assert means == sorted(means)
    assert means[0] == pytest.approx(loss_of(y)(model(x)).mean().item())
    assert means[-1] > means[0] + 0.05


def test_train_mode_uses_batch_statistics_and_moves_none():
    model, (x, y) = net(), example()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attacks = {m: PGD(ThreatModel("linf", 0.1), step_size=0.03, n_steps=3, bn_mode=m) for m in ("eval", "train")}
    model.train()
    found = {m: a(model, x, loss_of(y), generator=derive_generator(0, "a")) for m, a in attacks.items()}
    assert not torch.equal(found["eval"], found["train"])
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_counts_of_passes():
    model, (x, y) = net().eval(), example()
    calls = {"forward": 0, "backward": 0}
    model.register_forward_hook(lambda *_: calls.__setitem__("forward", calls["forward"] + 1))
    model.register_full_backward_pre_hook(lambda *_: calls.__setitem__("backward", calls["backward"] + 1))
    model[2] = nn.ReLU()
    PGD(ThreatModel(), step_size=0.01, n_steps=7)(model, x, loss_of(y), generator=derive_generator(0, "a"))
    assert calls == {"forward": 7, "backward": 7}


class HostReads(TorchDispatchMode):
    """Counts operations that wait for the device to hand a number to the host."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "_local_scalar_dense" in str(func) or "nonzero" in str(func):
            self.n += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_host_reads_nothing_back(norm, fold):
    model, (x, y) = net().eval(), example()
    attack = PGD(ThreatModel(norm, 0.1), step_size=0.03, n_steps=3, n_restarts=2, fold=fold)
    attack(model, x, loss_of(y), generator=derive_generator(0, "a"))  # the folded network is compared at its making
    with HostReads() as reads:
        attack(model, x, loss_of(y), generator=derive_generator(0, "a"))
    assert reads.n == 0
    with HostReads() as reads:
        x.sum().item()
    assert reads.n == 1


@pytest.mark.parametrize("fold", [True, False])
def test_weight_gradients_are_never_computed(fold):
    model, (x, y) = net().eval(), example()
    attack = PGD(ThreatModel(), step_size=0.01, n_steps=2, fold=fold)
    attack(model, x, loss_of(y), generator=derive_generator(0, "a"))
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "convolution_backward" in str(func):
                seen.append(args[-1])
            return func(*args, **(kwargs or {}))

    with Watch():
        attack(model, x, loss_of(y), generator=derive_generator(0, "a"))
    assert [list(mask) for mask in seen] == [[True, False, False]] * 2
