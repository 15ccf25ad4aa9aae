"""Files of other code bases: they load, and what was loaded computes the strangers' logits.

A layout that loads and computes something else would be worse than none, so each is held to a transcription of the
stranger's own forward pass (``strangers.py``) with random weights and random statistics.
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from overfit_lab.config import RunConfig
from overfit_lab.config.catalog import LAYOUTS, MODELS
from overfit_lab.errors import WeightsError
from overfit_lab.models.normalize import Normalize, find_normalize, put_in_front
from overfit_lab.models.spec import ModelSpec
from overfit_lab.models.weights import load_into, load_weights
from overfit_lab.training.complete import complete
from strangers import (
    DeepMindPreAct,
    DeepMindWide,
    PostActNet,
    PreActNet,
    SmallCNN,
    WideNet,
    images,
    prefixed,
    randomised,
)

POST = {"width": 8}
FAMILIES = {
    "pytorch-cifar resnet18": (lambda: PostActNet((2, 2, 2, 2), 8), "resnet18", POST, "pytorch-cifar-resnet"),
    "pytorch-cifar resnet34": (lambda: PostActNet((3, 4, 6, 3), 8), "resnet34", POST, "pytorch-cifar-resnet"),
    "pytorch-cifar resnet50": (
        lambda: PostActNet((3, 4, 6, 3), 8, bottleneck=True),
        "resnet50",
        POST,
        "pytorch-cifar-resnet",
    ),
    "rice preact-resnet18": (lambda: PreActNet(8), "preact-resnet18", POST, "pytorch-cifar-preact-resnet"),
    "pytorch-cifar preact-resnet18": (
        lambda: PreActNet(8, final=False),
        "preact-resnet18",
        {**POST, "final_norm": False},
        "pytorch-cifar-preact-resnet",
    ),
    "robustbench wong2020": (
        lambda: PreActNet(8, final=False, of_input=True),
        "preact-resnet18",
        {**POST, "final_norm": False, "shortcut": "input"},
        "pytorch-cifar-preact-resnet",
    ),
    "fast_adversarial": (
        lambda: PreActNet(8, of_input=True),
        "preact-resnet18",
        {**POST, "shortcut": "input"},
        "pytorch-cifar-preact-resnet",
    ),
    "rice wrn": (lambda: WideNet(34, 4, 2), "wrn-34-10", {"width": 4, "widen": 2}, "trades-wide-resnet"),
    "trades wrn": (lambda: WideNet(34, 4, 2, True), "wrn-34-10", {"width": 4, "widen": 2}, "trades-wide-resnet"),
    "robustbench wrn-28": (
        lambda: WideNet(28, 4, 2, True),
        "wrn-28-10",
        {"width": 4, "widen": 2},
        "trades-wide-resnet",
    ),
    "deepmind wrn": (
        lambda: DeepMindWide(28, 4, 2),
        "wrn-28-10-swish",
        {"width": 4, "widen": 2},
        "deepmind-wide-resnet",
    ),
    "deepmind wrn-70": (
        lambda: DeepMindWide(70, 4, 2),
        "wrn-70-16-swish",
        {"width": 4, "widen": 2},
        "deepmind-wide-resnet",
    ),
    "deepmind preact": (lambda: DeepMindPreAct(8), "preact-resnet18-swish", POST, "deepmind-preact-resnet"),
    **{
        f"pyhessian resnet{depth}": (
            lambda n=(depth - 2) // 6: PostActNet((n,) * 3, 8, head="fc", name="downsample"),
            f"resnet{depth}",
            POST,
            "pyhessian-resnet",
        )
        for depth in (20, 32, 44, 56, 110)
    },
    "pytorch_resnet_cifar10": (
        lambda: PostActNet((3, 3, 3), 8, padded=True),
        "resnet20",
        {**POST, "shortcut": "padding"},
        "pyhessian-resnet",
    ),
    "pytorch_resnet_cifar10 with projections": (
        lambda: PostActNet((3, 3, 3), 8),
        "resnet20",
        POST,
        "pyhessian-resnet",
    ),
    "trades small cnn": (SmallCNN, "trades-cnn", {}, "trades-cnn"),
}


def ours(name, mean=(), std=(), **options):
    shape = (1, 28, 28) if name == "trades-cnn" else (3, 32, 32)
    return MODELS[name](ModelSpec(10, shape, mean, std), **options).eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_logits_are_the_strangers(tmp_path, family, wrapped):
    make, name, options, _ = FAMILIES[family]
    stranger = randomised(make())
    state = stranger.state_dict()
    content = {"state_dict": prefixed(state, "module."), "epoch": 7} if wrapped else state
    torch.save(content, tmp_path / "w.pth")
    model = ours(name, **options)
    load_into(model, load_weights(tmp_path / "w.pth"))
    x = images(channels=1, side=28) if name == "trades-cnn" else images()
    with torch.no_grad():
        expected = stranger(x)
        assert expected.std() > 1e-2
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)


def test_every_layout_that_renames_is_tested():
    assert {layout for *_, layout in FAMILIES.values()} == {name for name, layout in LAYOUTS.items() if layout.rules}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_note_names_the_code_base(family):
    make, name, options, layout = FAMILIES[family]
    said = load_into(ours(name, **options), make().state_dict())
    assert said.startswith(f"names of {LAYOUTS[layout].source}")


def test_each_option_matters_for_the_logits():
    """Same names, another forward pass: were the option ignored, the equalities above would prove nothing."""
    stranger = randomised(PreActNet(8, of_input=True))
    model = ours("preact-resnet18", width=8)
    assert "model.shortcut=input" in load_into(model, stranger.state_dict())
    with torch.no_grad():
        assert not torch.allclose(model(images()), stranger(images()), atol=1e-2)


@pytest.mark.parametrize(
    ("stranger", "name", "options", "message"),
    [
        (lambda: PreActNet(8, final=False), "preact-resnet18", POST, "add --set model.final_norm=false"),
        (lambda: PreActNet(8), "preact-resnet18", {**POST, "final_norm": False}, "--set model.final_norm=true"),
        (lambda: PostActNet((3, 3, 3), 8, padded=True), "resnet20", POST, "add --set model.shortcut=padding"),
        (lambda: PostActNet((3,) * 3, 8), "resnet20", {**POST, "shortcut": "padding"}, "model.shortcut=projection"),
        (lambda: DeepMindWide(28, 4, 2), "wrn-28-10", {"width": 4, "widen": 2}, "--model wrn-28-10-swish"),
        (lambda: WideNet(28, 4, 2), "wrn-28-10-swish", {"width": 4, "widen": 2}, "--model wrn-28-10 or"),
        (lambda: WideNet(28, 4, 2), "preact-resnet18", POST, "--model wrn-28-10 or"),
        (SmallCNN, "small-cnn", {}, "--model trades-cnn"),
        (lambda: WideNet(28, 4, 2), "wrn-34-10", {"width": 4, "widen": 2}, "missing stages.0.4.bn1.weight"),
        (lambda: WideNet(28, 4, 3), "wrn-28-10", {"width": 4, "widen": 2}, "names of trades-wide-resnet"),
    ],
)
def test_a_misfit_says_what_would_fit(stranger, name, options, message):
    model = ours(name, **options)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_into(model, prefixed(stranger().state_dict(), "module."))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_torchvision_file_is_sent_to_torchvision():
    from torchvision.models import resnet18

    with pytest.raises(WeightsError, match="--model torchvision:resnet18"):
        load_into(ours("resnet18"), resnet18(weights=None, num_classes=10).state_dict())


def test_advice_is_kept_for_what_it_would_mend():
    """A file of another network altogether once got the advice to leave out the final batch norm."""
    with pytest.raises(WeightsError) as caught:
        load_into(ours("preact-resnet18", width=8), PostActNet((3, 3, 3), 8, head="fc").state_dict())
    assert "final_norm" not in str(caught.value)


def robustbench(name):
    """A module of RobustBench's architectures, where it is installed."""
    pytest.importorskip("robustbench")
    if importlib.util.find_spec("robustbench.model_zoo.architectures") is None:
        pytest.skip("no architectures in this robustbench")
    return importlib.import_module(f"robustbench.model_zoo.architectures.{name}")


def test_logits_are_those_of_the_installed_robustbench():
    """The transcriptions above against the real classes, where somebody has them."""
    resnet, wide, deepmind = robustbench("resnet"), robustbench("wide_resnet"), robustbench("dm_wide_resnet")
    cases = [
        (resnet.ResNet18(), "resnet18", {}),
        (resnet.PreActResNet(resnet.PreActBlockV2, [2, 2, 2, 2], bn_before_fc=True), "preact-resnet18", {}),
        (resnet.PreActResNet18(), "preact-resnet18", {"final_norm": False, "shortcut": "input"}),
        (wide.WideResNet(depth=28, widen_factor=2, sub_block1=True), "wrn-28-10", {"widen": 2}),
        (deepmind.DMWideResNet(depth=28, width=2, activation_fn=nn.SiLU), "wrn-28-10-swish", {"widen": 2}),
        (deepmind.DMPreActResNet(activation_fn=nn.SiLU), "preact-resnet18-swish", {}),
    ]
    for stranger, name, options in cases:
        randomised(stranger)
        inside = isinstance(stranger, (deepmind.DMWideResNet, deepmind.DMPreActResNet))
        constants = {"mean": deepmind.CIFAR10_MEAN, "std": deepmind.CIFAR10_STD} if inside else {}
        model = ours(name, **options, **constants)
        load_into(model, stranger.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(model(images()), stranger(images()), atol=1e-5, rtol=1e-5)
    assert "robustbench" in sys.modules


MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])


def normalised(state, spelling):
    """A state dict with constants of normalisation as they are found in the wild."""
    four = {"mean": MEAN.view(1, 3, 1, 1), "std": STD.view(1, 3, 1, 1)}
    if spelling == "mu sigma":
        return {**state, "mu": four["mean"], "sigma": four["std"]}
    if spelling == "module.mu":
        return prefixed({**state, "mu": four["mean"], "sigma": four["std"]}, "module.")
    if spelling == "buffers":
        return {**state, "mean": MEAN.view(3, 1, 1), "std": STD.view(3, 1, 1)}
    if spelling == "normalize model":
        return {**prefixed(four, "normalize."), **prefixed(state, "model.")}
    if spelling == "normalizer":
        return {**prefixed({"new_mean": MEAN.view(3, 1, 1), "new_std": STD.view(3, 1, 1)}, "normalizer."), **state}
    if spelling == "robustness library":
        part = {"new_mean": MEAN.view(3, 1, 1), "new_std": STD.view(3, 1, 1)}
        whole = {**prefixed(part, "normalizer."), **prefixed(state, "model.")}
        whole |= {**prefixed(part, "attacker.normalize."), **prefixed(state, "attacker.model.")}
        return prefixed(whole, "module.")
    if spelling == "sequential":
        return {**prefixed({"mean": MEAN, "std": STD}, "0."), **prefixed(state, "1.")}
    return prefixed({**prefixed({"mean": MEAN, "std": STD}, "0."), **prefixed(state, "1.module.")}, "module.")


SPELLINGS = ("mu sigma", "module.mu", "buffers", "normalize model", "normalizer", "robustness library", "sequential")


@pytest.mark.parametrize("spelling", [*SPELLINGS, "sequential module"])
def test_constants_in_the_file_are_used(spelling):
    stranger = randomised(PostActNet((2, 2, 2, 2), 8))
    x, inner = images(), (images() - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    model = ours("resnet18", width=8, mean=(0.1, 0.1, 0.1), std=(0.9, 0.9, 0.9))
    said = load_into(model, normalised(stranger.state_dict(), spelling))
    assert "mean 0.5,0.4,0.3" in said
    with torch.no_grad():
        torch.testing.assert_close(model(x), stranger(inner), atol=1e-5, rtol=1e-5)


def test_constants_that_the_user_named_stay():
    stranger = randomised(PostActNet((2, 2, 2, 2), 8))
    model = ours("resnet18", width=8)
    find_normalize(model).chosen = True
    assert "passed over" in load_into(model, normalised(stranger.state_dict(), "mu sigma"))
    with torch.no_grad():
        torch.testing.assert_close(model(images()), stranger(images()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": MEAN * 255, "sigma": STD * 255}, "expected those of pixels in"),
        ({"mu": MEAN[:2], "sigma": STD[:2]}, "for 2 channels"),
        ({"mu": MEAN, "sigma": STD, "normalize.mean": MEAN / 2, "normalize.std": STD}, "in two ways"),
    ],
)
def test_constants_that_cannot_be_right_are_refused(change, message):
    model = ours("resnet18", width=8)
    with pytest.raises(WeightsError, match=message):
        load_into(model, {**PostActNet((2, 2, 2, 2), 8).state_dict(), **change})


class Plain(nn.Module):
    """A network of a user, all of whose names lie under ``net.``."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))

    def forward(self, x):
        return self.net(x)


def test_a_users_network_whose_names_all_have_a_wrappers_prefix(tmp_path):
    """``net.`` was taken off the file's names and not off the model's, so a file did not fit the model it came from."""
    model, other = Plain(), Plain()
    torch.save(prefixed(model.state_dict(), "module."), tmp_path / "w.pt")
    load_into(other, load_weights(tmp_path / "w.pt"))
    assert torch.equal(model.net[1].weight, other.net[1].weight)


def test_constants_go_in_front_of_a_users_network():
    model = put_in_front(Plain(), Normalize((0.0,) * 3, (1.0,) * 3))
    load_into(model, {**model.state_dict(), "mu": MEAN, "sigma": STD})
    x = images(side=2)
    flat = ((x - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)).flatten(1)
    torch.testing.assert_close(model(x), F.linear(flat, model.net[1].weight, model.net[1].bias))


def test_constants_without_a_place_are_refused():
    model = Plain()
    with pytest.raises(WeightsError, match="no place for it"):
        load_into(model, {**model.state_dict(), "mu": MEAN, "sigma": STD})


def test_the_page_names_models_and_options_that_exist():
    text = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()
    commands = re.findall(r"`--model ([^`]*)`", text)
    assert len(commands) > 15
    for command in commands:
        name, *rest = command.split()
        settings = dict(part.removeprefix("model.").split("=") for part in rest if part.startswith("model."))
        if name == "package.module:function" or name.startswith("NAME"):
            continue
        settings = {key: yaml.safe_load(value) for key, value in settings.items() if value not in ("K", "...")}
        assert complete(RunConfig(model={"name": name, **settings})).model.name == name.replace("_", "-")
