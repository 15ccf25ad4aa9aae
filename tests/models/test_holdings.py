"""What a model holds is put back as it was: the same objects, with the same bits."""

import copy
import io
from collections import deque

import pytest
import torch
from torch import nn

from overfit_lab.models.holdings import Holdings, substituted, with_weights
from overfit_lab.models.isolation import isolated


class Hoarder(nn.Module):
    """Keeps things of every kind while it runs."""

    def __init__(self):
        super().__init__()
        self.fc, self.last, self.seen, self.table = nn.Linear(3, 2), None, [], {"x": torch.ones(2)}
        self.tags, self.recent = {"a"}, deque([1])
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        h = self.fc(x)
        self.last = h
        self.seen.append(h)
        self.table["x"].add_(1)
        self.table["h"] = h
        self.tags.add("b")
        self.recent.append(h)
        self.count.add_(1)
        self.extra = h * 2
        return h


def contents(model):
    return [
        (list(vars(m)), [id(v) for v in vars(m).values()], [id(p) for p in m._parameters.values()])
        for m in model.modules()
    ]


def test_everything_is_the_same_object_with_the_same_bits_afterwards():
    model = Hoarder()
    model.fc.weight.grad = gradient = torch.ones(2, 3)
    before, bits = contents(model), copy.deepcopy(model.state_dict())
    table = model.table["x"]
    with isolated(model):
        model(torch.rand(4, 3)).sum().backward()
        model.fc.weight.data.mul_(2)
        model.fc.bias = nn.Parameter(torch.zeros(2))
        model.fc.register_forward_hook(lambda *_: None)
    assert contents(model) == before
    assert model.last is None
    assert model.seen == []
    assert model.tags == {"a"}
    assert list(model.recent) == [1]
    assert list(model.table) == ["x"]
    assert model.table["x"] is table
    assert table.tolist() == [1, 1]
    assert model.fc.weight.grad is gradient
    assert not hasattr(model, "extra")
    assert not model.fc._forward_hooks
    assert all(torch.equal(value, bits[name]) for name, value in model.state_dict().items())
    torch.save(copy.deepcopy(model), io.BytesIO())


def test_a_tensor_that_did_not_change_is_not_written_to():
    """A graph that saved it would refuse to be differentiated."""
    model = nn.Linear(3, 2)
    loss, version = model(torch.rand(4, 3)).square().sum(), model.weight._version
    with isolated(model):
        model(torch.rand(4, 3))
    loss.backward()
    assert model.weight._version == version


def test_values_that_are_no_numbers_count_as_they_are():
    model = nn.BatchNorm1d(2)
    model.running_mean[0] = torch.nan
    version = model.running_mean._version
    with isolated(model):
        model(torch.rand(4, 2))
    assert model.running_mean._version == version


@pytest.mark.parametrize("form", ["twice in a list", "under two names", "in a plain list"])
def test_a_weight_is_replaced_wherever_the_model_refers_to_it_and_comes_back(form):
    block = nn.Linear(3, 3)
    model = nn.Module()
    model.a = block
    if form == "twice in a list":
        model.more = nn.ModuleList([block, block])
    elif form == "under two names":
        model.b = block
    else:
        model.flat = [block.weight]
    before = contents(model)
    other = torch.zeros(3, 3)
    with substituted(model, {id(block.weight): other}):
        assert block.weight is other
        assert form != "in a plain list" or model.flat[0] is other
    assert contents(model) == before
    assert isinstance(block.weight, nn.Parameter)


def test_recurrent_layers_compute_with_the_weights_in_the_place_of_theirs():
    model, x = nn.LSTM(3, 4, batch_first=True), torch.rand(2, 5, 3)
    zero = torch.zeros_like(model.weight_hh_l0)
    found, _ = with_weights(model, {"weight_hh_l0": zero}, lambda: model(x))
    assert not torch.equal(found, model(x)[0])
    with torch.no_grad():
        model.weight_hh_l0.zero_()
    assert torch.equal(found, model(x)[0])


def test_what_is_referred_to_can_be_restored_without_the_bits():
    model = nn.Linear(2, 2)
    held = Holdings(model, bits=False)
    weight = model.weight
    with torch.no_grad():
        model.weight.zero_()
    model._parameters["weight"] = torch.ones(2, 2)
    held.restore()
    assert model.weight is weight
    assert not weight.any()
