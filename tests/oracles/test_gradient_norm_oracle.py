"""Gradient norms against plain backward passes."""

import pytest
import torch
from torch import nn

from overfit_lab.probes.metrics.gradient_norm import gradient_norm

N, K = 50, 4


def example():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.ReLU(inplace=True), nn.Linear(6, K)).double().eval()
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(N, 1, 3, 3, generator=stream, dtype=torch.float64)
    targets = torch.softmax(torch.randn(N, K, generator=stream, dtype=torch.float64), 1)
    return net, x, targets


def plain_gradients(net, x, targets):
    net.zero_grad()
    (-(targets * torch.log_softmax(net(x), 1)).sum(1).mean()).backward()
    found = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad(set_to_none=True)
    return found


def norm(gradients):
    return torch.cat([g.flatten() for g in gradients]).norm().item()


@pytest.mark.parametrize("batch_size", [50, 10, 7])
def test_full_minibatch_and_layers_equal_plain_backward(batch_size):
    net, x, targets = example()
    found = gradient_norm(net, x, targets, batch_size)
    whole = plain_gradients(net, x, targets)
    # log p is computed in float32 from the logits on
    assert found.full == pytest.approx(norm(whole.values()), rel=1e-5)
    batches = [
        norm(plain_gradients(net, part, t).values())
        for part, t in zip(x.split(batch_size), targets.split(batch_size), strict=True)
    ]
    assert found.minibatch == pytest.approx(sum(batches) / len(batches), rel=1e-5)
    for layer in ("1", "3"):
        expected = norm([whole[f"{layer}.weight"], whole[f"{layer}.bias"]])
        assert found.layers[layer] == pytest.approx(expected, rel=1e-5)
    assert found.full == pytest.approx(sum(v**2 for v in found.layers.values()) ** 0.5, rel=1e-9)


def test_stderr_is_that_of_the_mean_along_the_gradient():
    net, x, targets = example()
    samples = [plain_gradients(net, x[i : i + 1], targets[i : i + 1]) for i in range(N)]
    rows = torch.stack([torch.cat([g.flatten() for g in s.values()]) for s in samples])
    mean = rows.mean(0)
    slopes = rows @ (mean / mean.norm())
    found = gradient_norm(net, x, targets, 20)
    assert found.full_stderr == pytest.approx((slopes.std() / N**0.5).item(), rel=1e-4)


def test_a_frozen_or_unused_parameter_is_left_out_or_zero():
    net, x, targets = example()
    net[1].weight.requires_grad_(False)
    net.register_parameter("unused", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    found = gradient_norm(net, x, targets, 25)
    assert found.layers["model"] == 0
    net[1].weight.requires_grad_(True)
    assert gradient_norm(net, x, targets, 25).full > found.full


def test_gradients_of_the_model_are_untouched():
    net, x, targets = example()
    gradient_norm(net, x, targets, 25)
    assert all(p.grad is None for p in net.parameters())
