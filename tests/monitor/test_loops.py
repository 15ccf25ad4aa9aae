"""Loops as people write them: each is measured exactly, and trains to the bit as it does unwatched."""

import contextlib
import copy

import pytest
import torch
from loops import arrays, stranger
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from dense import dense_numbers, measured_numbers
from overfit_lab.errors import ConfigError
from overfit_lab.monitor.monitor import Monitor

TRAIN, TEST = arrays()
X, Y = TRAIN[0] / 255, TRAIN[1]
EPOCHS = 2


def batches(size=50):
    return [(X[at], Y[at]) for at in torch.randperm(len(Y)).split(size)]


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


class Quiet:
    """In the place of a monitor where nobody watches."""

    def __getattr__(self, name):
        return lambda *_, **__: None


def accumulating(model, monitor, net):
    optimizer = sgd(model)
    for _ in range(EPOCHS):
        model.train()
        for i, (x, y) in enumerate(batches(25)):
            loss = functional.cross_entropy(model(x), y)
            (loss / 4).backward()
            monitor.loss_known(loss, len(y))
            if i % 4 == 3:
                monitor.gradients_ready(n=100)
                optimizer.step()
                optimizer.zero_grad()
        monitor.epoch_ended()
    return optimizer


def scaled(model, monitor, net):
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=2)
    for epoch in range(EPOCHS):
        model.train()
        for i, (x, y) in enumerate(batches()):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(x), y)
            scaler.scale(loss * 40).backward()
            scaler.unscale_(optimizer)
            monitor.gradients_ready(loss, len(y), step=(epoch, i), optimizer=optimizer, scaler=scaler)
            scaler.step(optimizer)
            scaler.update()
        monitor.epoch_ended()
    return optimizer


def two_optimisers(model, monitor, net):
    lower, upper = sgd(model[1]), torch.optim.AdamW(model[5].parameters(), lr=1e-3)
    for epoch in range(EPOCHS):
        model.train()
        for i, (x, y) in enumerate(batches()):
            for optimizer in (lower, upper):
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(x), y)
                loss.backward()
                monitor.gradients_ready(n=len(y), step=(epoch, i), optimizer=optimizer)
                optimizer.step()
        monitor.epoch_ended()
    return upper


def lbfgs(model, monitor, net):
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    for epoch in range(EPOCHS):
        model.train()
        for i, (x, y) in enumerate(batches(100)):

            def closure(x=x, y=y, step=(epoch, i)):
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(x), y)
                loss.backward()
                monitor.gradients_ready(loss, len(y), step=step, optimizer=optimizer)
                return loss

            optimizer.step(closure)
        monitor.epoch_ended()
    return optimizer


def averaged(model, monitor, net):
    """The average is what is looked at; its steps are the raw weights'."""
    optimizer = sgd(model)
    for _ in range(EPOCHS):
        model.train()
        for x, y in batches():
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            monitor.gradients_ready(loss, len(y))
            optimizer.step()
            net.update_parameters(model)
        monitor.epoch_ended()
    return optimizer


def compiled(model, monitor, net):
    return one_by_one(net, monitor, net)


def sampled(model, monitor, net):
    weights = torch.linspace(0.1, 1, len(Y))
    sampler = WeightedRandomSampler(weights, 120, generator=torch.Generator().manual_seed(2))
    loader = DataLoader(TensorDataset(X, Y), batch_size=50, sampler=sampler, drop_last=True)
    return one_by_one(model, monitor, net, lambda: loader)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(zip(X[:130], Y[:130], strict=True))


def iterable(model, monitor, net):
    return one_by_one(model, monitor, net, lambda: DataLoader(Endless(), batch_size=50))


def one_by_one(model, monitor, net, loader=batches):
    optimizer = sgd(model)
    for _ in range(EPOCHS):
        model.train()
        for x, y in loader():
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            monitor.gradients_ready(loss, len(y))
            optimizer.step()
        monitor.epoch_ended()
    return optimizer


def by_steps(model, monitor, net):
    optimizer = sgd(model)
    step = 0
    while step < 6:
        for x, y in batches():
            model.train()
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            monitor.gradients_ready(loss, len(y), step=step)
            optimizer.step()
            step += 1
            if step % 3 == 0:
                monitor.epoch_ended(is_last=step == 6)
            if step == 6:
                break
    return optimizer


LOOPS = [
    (accumulating, 2, 200),
    (scaled, None, None),
    (two_optimisers, 4, 200),
    (lbfgs, 2, 200),
    (averaged, 0, None),
    (compiled, 4, 200),
    (sampled, 2, 100),
    (iterable, 3, 130),
    (by_steps, 3, 150),
]
WRAPS = {
    averaged: lambda model: AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9)),
    compiled: lambda model: torch.compile(model, backend="eager"),
}


def trained(loop, watch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = stranger()
        net = WRAPS.get(loop, lambda model: model)(model)
        looked_at = net.module if loop is averaged else net
        monitor = Quiet()
        if watch:
            monitor = Monitor(looked_at, TRAIN, TEST, n=30, probes=["gradient-norm", "iiw", "calibration", "hessian"])
            reference = copy.deepcopy(monitor.reference)
        optimizer = loop(model, monitor, net)
        state = (model.state_dict(), optimizer.state_dict(), torch.get_rng_state(), looked_at.state_dict())
        if not watch:
            return state, None, None
        return state, monitor, (monitor.model, reference)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize(("loop", "steps", "n"), LOOPS, ids=lambda part: getattr(part, "__name__", ""))
def test_every_loop_is_measured_and_trains_as_it_does_alone(loop, steps, n):
    alone, _, _ = trained(loop, watch=False)
    state, monitor, (model, reference) = trained(loop, watch=True)
    assert same(alone, state)
    assert not monitor.failed
    order = monitor.data.splits["train"].order[:30]
    expected = dense_numbers(model, reference, X[order], Y[order], n_train=200)
    measured = measured_numbers(monitor.records)
    del expected["nll"]  # of calibration, which looks at the test split
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=2e-4)
    order = monitor.data.splits["test"].order[:30]
    assert measured_numbers(monitor.records, "test")["nll"] == pytest.approx(
        dense_numbers(model, reference, TEST[0][order] / 255, TEST[1][order], 200)["nll"], rel=1e-5
    )
    readings = monitor.records[monitor.records["field"] == "grad_norm_minibatch"]
    if steps is not None:
        assert monitor.records["step"].max() == EPOCHS * steps
    if n is not None:
        assert readings["n"].tolist() == [n] * EPOCHS
    if loop is averaged:
        assert readings.empty
    else:
        assert (readings["value"] > 0).all()


def test_overflowing_steps_of_the_scaled_loop_are_none():
    _, monitor, _ = trained(scaled, watch=True)
    readings = monitor.records[monitor.records["field"] == "grad_norm_minibatch"]
    assert readings["value"].notna().all()
    assert 0 < monitor.records["step"].max() < 8
    assert readings["n"].sum() == 50 * monitor.records["step"].max()


def test_an_iterable_data_set_is_refused_in_one_line_where_it_cannot_be_read():
    with pytest.raises(ConfigError) as caught:
        Monitor(stranger(), Endless(), n=20)
    assert "\n" not in str(caught.value)


def test_a_network_that_is_held_twice_is_trained_as_it_was():
    """One block under two names: after a measurement its parameters are the optimiser's still."""
    torch.manual_seed(0)
    block = nn.Linear(64, 64)
    model = nn.Sequential(nn.Flatten(), block, nn.ReLU(), block, nn.Linear(64, 10))
    optimizer = sgd(model)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    monitor = Monitor(model, TRAIN, n=20)
    one_by_one(model, monitor, model)
    assert {id(p) for p in model.parameters()} == held
    assert not monitor.failed


@contextlib.contextmanager
def in_float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = [
    torch.no_grad,
    torch.inference_mode,
    lambda: torch.autocast("cpu", torch.bfloat16),
    in_float64,
    lambda: torch.device("cpu"),
]


def numbers_in(mode):
    """What is measured where the monitor is made and called within a mode of torch."""
    model = stranger().eval()  # its dropout would draw otherwise each time
    probes = ["gradient-norm", "iiw", "calibration", "hessian", "logit-geometry"]
    with mode():
        monitor = Monitor(model, TRAIN, TEST, n=10, probes=probes, options={"hessian": {"max_probes": 2, "top_k": 0}})
    loss = functional.cross_entropy(model(X[:50]), Y[:50])
    loss.backward()
    with mode():
        monitor.gradients_ready(loss, 50)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.1)
        monitor.epoch_ended()
    assert not monitor.failed
    return monitor.records.drop(columns="seconds").astype(str).values.tolist()


def test_numbers_do_not_depend_on_the_mode_that_the_loop_is_in():
    plain = numbers_in(contextlib.nullcontext)
    for mode in MODES:
        assert numbers_in(mode) == plain
