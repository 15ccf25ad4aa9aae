"""Weights files that are not what they seem, or hold more than one set of weights."""

import pytest
import torch
from torch import nn

from overfit_lab.config import Part
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.errors import ConfigError, WeightsError
from overfit_lab.models.factory import build_model
from overfit_lab.models.normalize import Normalize
from overfit_lab.models.weights import load_into, load_weights, read_weights


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
    model = Masked()
    with torch.no_grad():
        model.mask.zero_()
    load_into(model, Masked().state_dict())
    assert model.mask.tolist() == [0, -float("inf")]


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


def normalised(net):
    return nn.Sequential(nn.Identity(), net)


def same(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def images_net(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))


def test_a_network_behind_a_layer_without_buffers():
    model = net(1)
    assert "what stood before it is not in the file" in load_into(model, normalised(net()).state_dict())
    assert same(model, net())
    load_into(model, nn.DataParallel(normalised(net(2))).state_dict())
    assert same(model, net(2))
    with pytest.raises(WeightsError, match=r"missing 2\.weight") as caught:
        load_into(net(), {key: t for key, t in normalised(net()).state_dict().items() if key != "1.2.weight"})
    assert "unexpected" not in str(caught.value)


def test_a_model_of_mair(tmp_path):
    """RobModel keeps ``n_classes`` and puts its normalisation before the network in a Sequential, under ``model``."""
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1), torch.full((1, 3, 1, 1), 0.25)
    state = {"n_classes": torch.tensor([2]), "model.0.mean": mean, "model.0.std": std}
    state |= {f"model.1.{key}": tensor for key, tensor in images_net().state_dict().items()}
    torch.save({"rmodel": state, "record_info": {"Clean": 81.0}, "epoch": 3}, tmp_path / "last.pth")
    model = images_net(1)
    model.register_module("normalize", Normalize((0.0,) * 3, (1.0,) * 3))
    taken = load_into(model, load_weights(tmp_path / "last.pth"))
    assert "mean 0.5,0.4,0.3" in taken
    assert torch.equal(model[3].weight, images_net()[3].weight)


@pytest.mark.parametrize("averaged", ["swa_state_dict", "state_dict_ema", "model_ema", "swa_model"])
def test_weights_beside_others_are_said_and_taken_by_name(averaged, tmp_path):
    swa = torch.optim.swa_utils.AveragedModel(net(1)).state_dict()
    torch.save({"state_dict": net().state_dict(), averaged: swa, "epoch": 3}, tmp_path / "w.pt")
    model = net(2)
    state, note = read_weights(tmp_path / "w.pt")
    assert f"weights under 'state_dict', others under '{averaged}'" in note
    load_into(model, state)
    assert same(model, net())
    state, note = read_weights(tmp_path / "w.pt", averaged)
    assert f"weights under '{averaged}'" in note
    load_into(model, state)
    assert same(model, net(1))
    with pytest.raises(WeightsError, match=f"no weights under 'x'; there are some under state_dict, {averaged}"):
        read_weights(tmp_path / "w.pt", "x")
    torch.save({averaged: swa}, tmp_path / "w.pt")
    load_into(model, load_weights(tmp_path / "w.pt"))
    assert same(model, net(1))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 44730041\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "a Git LFS pointer, not the file itself"),
        (b"<!DOCTYPE html><html><head><title>Drive - virus scan warning", "a web page, not weights"),
        (b"\n<html>", "a web page, not weights"),
        (b"plain text that is nothing", "damaged, or not a weights file"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_was_saved_in_place_of_weights_is_called_by_its_name(suffix, content, message, tmp_path):
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(WeightsError, match=message if suffix == ".pth" or "damaged" not in message else "damaged"):
        load_weights(tmp_path / f"w{suffix}")


def asserting(n_classes, patch_size=3):
    assert patch_size > 3
    return nn.Sequential(nn.Flatten(), nn.Linear(192, n_classes))


def of_library(name, **options):
    x = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    data = dataset_from_arrays((x, torch.arange(8) % 2))
    return build_model(Part(name=name, **options), data, torch.device("cpu"), seed=0)


def test_a_foreign_assertion_is_one_line_and_keywords_go_through():
    with pytest.raises(ConfigError, match=r"cannot be made with these options \(assert 3 > 3"):
        of_library(f"{__name__}:asserting")
    with pytest.raises(ConfigError, match=r"fails on images of 3x32x32 .*Wrong image"):
        of_library("torchvision:vit_b_32", image_size=64)
    model = of_library("torchvision:vit_b_32", image_size=32, dropout=0.5)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.5}
    with pytest.raises(ConfigError, match=r"cannot be made with these options .*patchsize"):
        of_library("torchvision:vit_b_32", patchsize=3)
