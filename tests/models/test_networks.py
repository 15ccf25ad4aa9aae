"""Networks: published sizes, shapes, and forward passes against plain transcriptions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from overfit_lab.config.catalog import MODELS
from overfit_lab.errors import ConfigError
from overfit_lab.models.features import penultimate_features
from overfit_lab.models.normalize import Normalize
from overfit_lab.models.spec import ModelSpec

PUBLISHED = {
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_520_842,
    "preact-resnet18": 11_172_170,
    "wrn-28-10": 36_479_194,
    "wrn-34-10": 46_160_474,
    "resnet20": 272_474,
    "resnet110": 1_730_714,
    "wrn-28-10-swish": 36_479_194,
    "wrn-70-16-swish": 266_796_506,
    "trades-cnn": 312_202,
}
SMALL = {
    "resnet18": {"width": 4},
    "resnet34": {"width": 4},
    "resnet50": {"width": 4},
    "preact-resnet18": {"width": 4},
    "wrn-28-10": {"width": 2, "widen": 2},
    "wrn-34-10": {"width": 2, "widen": 2},
    "wrn-28-10-swish": {"width": 2, "widen": 2},
    "wrn-34-10-swish": {"width": 2, "widen": 2},
    "wrn-70-16-swish": {"width": 2, "widen": 2},
    "preact-resnet18-swish": {"width": 4},
    **{f"resnet{depth}": {"width": 4} for depth in (20, 32, 44, 56, 110)},
    "trades-cnn": {"width": 4, "hidden": 8},
    "small-cnn": {"width": 4},
    "mlp": {"hidden": 8},
}


LIBRARIES = {"timm", "torchvision"}
"""Prefixes of other libraries' networks, tested in test_libraries.py."""


def make(name, n_classes=7, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = ModelSpec(n_classes, (3, 32, 32), mean, std)
        return MODELS[name](spec, **{**SMALL[name], **options}).eval()


def test_every_network_is_tested():
    assert set(MODELS) - LIBRARIES == set(SMALL)


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_published_numbers_of_parameters(name, count):
    spec = ModelSpec(10, (1, 28, 28)) if name == "trades-cnn" else ModelSpec(10)
    with torch.device("meta"):
        model = MODELS[name](spec)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("name", list(SMALL))
def test_maps_images_to_logits_and_declares_its_penultimate_layer(name):
    model = make(name)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    logits = model(x)
    assert logits.shape == (2, 7)
    features = penultimate_features(model, x, model.penultimate)
    last = model.get_submodule(model.penultimate)
    torch.testing.assert_close(F.linear(features, last.weight, last.bias), logits)


@pytest.mark.parametrize("name", list(SMALL))
def test_normalisation_is_inside(name):
    inside, outside = make(name), make(name, mean=(0.0,) * 3, std=(1.0,) * 3)
    outside.load_state_dict(inside.state_dict())
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(inside(x), outside((x - mean) / std), atol=1e-4, rtol=1e-4)
    assert outside.normalize.is_identity


def norm(state, name, x):
    return F.batch_norm(
        x, state[f"{name}.running_mean"], state[f"{name}.running_var"], state[f"{name}.weight"], state[f"{name}.bias"]
    )


def plain_preact(state, x, blocks):
    """The forward pass of a pre-activation network written out from its state dict."""
    x = F.conv2d(x, state["conv1.weight"], padding=1)
    for s, depth in enumerate(blocks):
        for i in range(depth):
            at = f"stages.{s}.{i}"
            stride = 2 if s and not i else 1
            a = F.relu(norm(state, f"{at}.bn1", x))
            key = f"{at}.shortcut.weight"
            skip = F.conv2d(a, state[key], stride=stride) if key in state else x
            h = F.conv2d(a, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            x = skip + F.conv2d(F.relu(norm(state, f"{at}.bn2", h)), state[f"{at}.conv2.weight"], padding=1)
    x = F.relu(norm(state, "bn", x)).mean((2, 3))
    return x @ state["linear.weight"].T + state["linear.bias"]


def plain_resnet(state, x, blocks, bottleneck):
    """The forward pass of a residual network written out from its state dict."""
    x = F.relu(norm(state, "bn1", F.conv2d(x, state["conv1.weight"], padding=1)))
    for s, depth in enumerate(blocks):
        for i in range(depth):
            at = f"stages.{s}.{i}"
            stride = 2 if s and not i else 1
            key = f"{at}.shortcut.0.weight"
            skip = norm(state, f"{at}.shortcut.1", F.conv2d(x, state[key], stride=stride)) if key in state else x
            plan = [(1, 0, 1), (stride, 1, 2), (1, 0, 3)] if bottleneck else [(stride, 1, 1), (1, 1, 2)]
            h = x
            for step, padding, j in plan:
                h = norm(state, f"{at}.bn{j}", F.conv2d(h, state[f"{at}.conv{j}.weight"], stride=step, padding=padding))
                h = F.relu(h) if j < len(plan) else h
            x = F.relu(h + skip)
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize(
    ("name", "plain", "plan"),
    [
        ("preact-resnet18", plain_preact, ((2, 2, 2, 2),)),
        ("wrn-28-10", plain_preact, ((4, 4, 4),)),
        ("wrn-34-10", plain_preact, ((5, 5, 5),)),
        ("resnet18", plain_resnet, ((2, 2, 2, 2), False)),
        ("resnet34", plain_resnet, ((3, 4, 6, 3), False)),
        ("resnet50", plain_resnet, ((3, 4, 6, 3), True)),
    ],
)
def test_forward_equals_a_plain_transcription(name, plain, plan):
    model = make(name, mean=(0.0,) * 3, std=(1.0,) * 3).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(model(x), plain(model.state_dict(), x, *plan), atol=1e-9, rtol=1e-9)


def test_a_strided_stem_and_fewer_blocks():
    model = make("preact-resnet18", blocks=(1, 1, 1, 1), stem_stride=2)
    assert [len(stage) for stage in model.stages] == [1, 1, 1, 1]
    assert model.conv1(torch.zeros(1, 3, 32, 32)).shape[-1] == 16


def test_normalize_by_hand():
    found = Normalize((0.5,), (0.25,))(torch.tensor([[[[0.0, 1.0]]]]))
    assert found.flatten().tolist() == [-2.0, 2.0]


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.never = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.shared(self.shared(x.flatten(1)))


@pytest.mark.parametrize(
    ("layer", "message"), [("shard", "did you mean shared"), ("shared", "used 2 times"), ("never", "used 0 times")]
)
def test_features_are_never_guessed(layer, message):
    model = Odd()
    with pytest.raises(ConfigError, match=message):
        penultimate_features(model, torch.zeros(3, 1, 2, 2), layer)
    assert not model.shared._forward_pre_hooks


def test_features_do_not_depend_on_the_batch_size():
    model = make("small-cnn")
    x = torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        penultimate_features(model, x, "linear", 9), penultimate_features(model, x, "linear", 2), atol=1e-6, rtol=1e-5
    )
