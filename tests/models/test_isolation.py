"""Isolation and random streams: everything is as before, also after an error."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from overfit_lab.models.isolation import frozen, isolated, mode, unmoved_statistics
from overfit_lab.seeds import Streams, derive_generator, derive_seed, get_streams, private_streams, set_streams


def model():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    net[0].weight.requires_grad_(False)
    net.train()
    net[1].eval()
    net(torch.ones(5, 3)).sum().backward()
    return net


def state(net):
    return (
        [module.training for module in net.modules()],
        [p.requires_grad for p in net.parameters()],
        [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        [b.clone() for b in net.buffers()],
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state(),
    )


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("error", [False, True])
def test_isolated_restores_everything(error):
    net = model()
    before = state(net)
    try:
        with isolated(net):
            assert not any(module.training for module in net.modules())
            assert all(p.grad is None for p in net.parameters())
            net.train()
            net(torch.randn(4, 3)).sum().backward()
            net.requires_grad_(True)
            random.random(), np.random.rand()
            if error:
                raise RuntimeError
    except RuntimeError:
        assert error
    assert all(equal(a, b) for a, b in zip(before, state(net), strict=True))


def test_frozen_and_mode_restore():
    net = model()
    flags = [p.requires_grad for p in net.parameters()]
    modes = [m.training for m in net.modules()]
    with frozen(net), mode(net, training=False):
        assert not any(p.requires_grad for p in net.parameters())
        assert not net[2].training
    assert flags == [p.requires_grad for p in net.parameters()]
    assert modes == [m.training for m in net.modules()]


def test_unmoved_statistics_normalise_by_the_batch_and_do_not_move():
    net = nn.BatchNorm1d(2)
    x = torch.tensor([[1.0, 2.0], [3.0, 8.0]])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with unmoved_statistics(net):
        out = net(x)
    torch.testing.assert_close(out, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), atol=1e-4, rtol=0)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    net(x)
    assert net.num_batches_tracked == 1


def test_streams_are_functions_of_seed_and_name():
    draw = torch.rand(3, generator=derive_generator(1, "attack", 5))
    assert torch.equal(draw, torch.rand(3, generator=derive_generator(1, "attack", 5)))
    others = [(1, "attack", 6), (2, "attack", 5), (1, "order", 5)]
    assert all(not torch.equal(draw, torch.rand(3, generator=derive_generator(*other))) for other in others)
    assert derive_seed(0, "a", "b") != derive_seed(0, "ab")
    assert 0 <= derive_seed(7, "x") < 2**63


def test_private_streams_repeat_and_leave_no_trace():
    before = torch.get_rng_state()
    with private_streams(3):
        first = (torch.rand(1), random.random(), np.random.rand())
    with private_streams(3):
        second = (torch.rand(1), random.random(), np.random.rand())
    assert first == second
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_streams_of_a_machine_with_more_devices_are_taken_as_far_as_they_go():
    """A checkpoint from a GPU once could not be resumed on a machine without one."""
    before = get_streams()
    devices = [torch.zeros(16, dtype=torch.uint8)] * 99
    set_streams(Streams(before.python, before.numpy, before.cpu, devices))
    assert torch.equal(torch.get_rng_state(), before.cpu)
