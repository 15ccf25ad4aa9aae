"""Weights files that are not what they seem, or hold more than one set of weights."""

import pytest
import torch
from torch import nn

from overfit_lab.config import Part
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.errors import ConfigError, WeightsError
from overfit_lab.models.factory import build_model
from overfit_lab.models.normalize import Normalize
from overfit_lab.models.weights import load_into


def net(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize(("name", "value"), [("0.weight", "nan"), ("2.bias", "inf"), ("1.running_var", "nan")])
def test_weights_that_are_not_finite_are_refused(name, value):
    state = {key: tensor.clone() for key, tensor in net().state_dict().items()}
    state[name].flatten()[:1] = float(value)
    model = net(1)
    with pytest.raises(WeightsError, match=f"not finite: 1 of 9 tensors, the first is {name} .1 of its"):
        load_into(model, state)
    assert torch.equal(model[2].weight, net(1)[2].weight)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))


def test_a_mask_of_infinities_is_no_divergence():
    load_into(Masked(), Masked().state_dict())


def built(**options):
    x = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    statistics = {key: options.pop(key) for key in ("mean", "std") if key in options}
    data = dataset_from_arrays((x, torch.arange(8) % 2), **statistics)
    return build_model(Part(name="small-cnn", **options), data, torch.device("cpu"), seed=0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: built(normalize="125.3,123,113.9/63,62.1,66.7"),
        lambda: built(normalize="0/255"),
        lambda: built(normalize="127.5/0.25"),
        lambda: built(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7)),
        lambda: Normalize((33.3,), (78.6,)),
    ],
)
def test_constants_in_units_of_0_to_255_are_refused_at_every_door(build):
    with pytest.raises(ConfigError, match=r"expected those of pixels in \[0, 1\].*; divided by 255 they are") as caught:
        build()
    assert "\n" not in str(caught.value)
