"""Weights files of strangers: read as data, or refused in one line."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from overfit_lab.errors import WeightsError
from overfit_lab.models.weights import load_into, load_weights


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod.", "backbone."])
def test_state_dicts_with_the_prefixes_found_in_the_wild(tmp_path, suffix, prefix):
    path = tmp_path / f"w{suffix}"
    state = prefixed(net().state_dict(), prefix)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    found = load_weights(path)
    assert found.keys() == net().state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in net().state_dict().items())


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "net"])
def test_wrapped_state_dicts(tmp_path, wrapper):
    path = tmp_path / "w.pth"
    torch.save({wrapper: net().state_dict(), "epoch": 3, "optimizer": {"lr": 0.1}}, path)
    assert load_weights(path).keys() == net().state_dict().keys()


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors", ".th"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_would_run_a_command_is_refused_and_has_not_run(tmp_path, suffix, legacy):
    path, mark = tmp_path / f"w{suffix}", tmp_path / "ran"
    if legacy:
        path.write_bytes(pickle.dumps({"state_dict": Bomb(mark)}))
    else:
        torch.save({"state_dict": Bomb(mark)}, path)
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(net(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="state_dict alone"):
        load_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.pt", None, "no such weights file"),
        ("w.txt", b"x", "expected a file ending in"),
        ("w.pt", b"not a checkpoint", "refused|damaged"),
        ("w.safetensors", b"not a checkpoint", "damaged"),
        ("empty.pt", b"", "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path / name)


def test_a_file_without_a_state_dict(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no state dict"):
        load_weights(tmp_path / "w.pt")


def test_a_misfit_lists_keys_and_changes_nothing():
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    state["head.weight"] = state.pop("2.weight")
    state["0.weight"] = torch.zeros(5, 3)
    with pytest.raises(WeightsError) as caught:
        load_into(model, state)
    text = str(caught.value)
    assert "missing 2.weight" in text
    assert "unexpected head.weight" in text
    assert "shape of 0.weight (5, 3), expected (4, 3)" in text
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_fit_is_loaded_also_without_the_batch_counter():
    model = net()
    state = {name: value + 1 for name, value in model.state_dict().items() if "num_batches" not in name}
    load_into(model, state)
    assert torch.equal(model[0].weight, state["0.weight"])
