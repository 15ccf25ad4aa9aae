"""What files in the wild wrap a state dict in, and what may lie beside it."""

import argparse
import collections
import pathlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from overfit_lab.errors import WeightsError
from overfit_lab.models.spellings import WRAPPERS, strip_prefixes
from overfit_lab.models.weights import TORCH_SUFFIXES, load_into, load_weights
from strangers import prefixed


def net(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(found, model):
    state = model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("suffix", TORCH_SUFFIXES)
def test_every_suffix_of_torch_files(tmp_path, suffix):
    torch.save(net().state_dict(), tmp_path / f"w{suffix}")
    assert same(load_weights(tmp_path / f"w{suffix}"), net())


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_also_inside_another(tmp_path, wrapper):
    for content in ({wrapper: net().state_dict()}, {"epoch": 3, "model": {wrapper: net().state_dict()}, "acc": 0.5}):
        torch.save(content, tmp_path / "w.pt")
        assert same(load_weights(tmp_path / "w.pt"), net())


def test_averaged_weights_are_taken_only_where_there_are_no_others(tmp_path):
    torch.save({"model_ema": net(1).state_dict(), "net": net().state_dict()}, tmp_path / "w.pt")
    assert same(load_weights(tmp_path / "w.pt"), net())
    torch.save({"model_ema": net(1).state_dict(), "epoch": 3}, tmp_path / "w.pt")
    assert same(load_weights(tmp_path / "w.pt"), net(1))


def test_a_wrapper_without_tensors_is_passed_over(tmp_path):
    """Options under ``model`` once hid the weights under another key."""
    torch.save({"model": {"name": "resnet18", "depth": 18}, "net": net().state_dict()}, tmp_path / "w.pt")
    assert same(load_weights(tmp_path / "w.pt"), net())


@pytest.mark.parametrize(
    "prefix", ["module.model.", "model.module.", "module.module.", "_orig_mod.net.backbone.module."]
)
def test_prefixes_in_any_order_and_repeated(prefix):
    assert same(strip_prefixes(prefixed(net().state_dict(), prefix)), net())


def lightning(state, prefix="model.", beside="criterion.weight"):
    return {"state_dict": {**prefixed(state, prefix), beside: torch.ones(3)}, "global_step": 5}


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "model.module.", "model._orig_mod."])
def test_a_lightning_checkpoint_with_weights_of_its_own(tmp_path, prefix):
    torch.save(lightning(net().state_dict(), prefix), tmp_path / "w.ckpt")
    model = net(1)
    assert "alone" in load_into(model, load_weights(tmp_path / "w.ckpt"))
    assert same(model.state_dict(), net())


def test_two_networks_that_fit_are_not_chosen_between():
    state = {**prefixed(net().state_dict(), "model."), **prefixed(net(1).state_dict(), "net.")}
    with pytest.raises(WeightsError, match="two networks"):
        load_into(net(), state)
    load_into(net(), {**prefixed(net().state_dict(), "model."), **prefixed(net().state_dict(), "net.")})


def test_a_subtree_has_to_fit_exactly():
    with pytest.raises(WeightsError, match="missing"):
        load_into(nn.Sequential(nn.Linear(3, 4)), {"model.0.weight": torch.zeros(4, 3), "loss.w": torch.zeros(2)})


def numbers():
    kinds = (np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.uint64, np.bool_)
    return [kind(1) for kind in kinds]


@pytest.mark.parametrize("modern", [False, True])
def test_numpys_numbers_and_a_namespace_beside_the_weights(tmp_path, modern):
    args = argparse.Namespace(lr=0.1, best=np.float64(0.5))
    content = {"net": net().state_dict(), "acc": numbers(), "args": args, "sched": collections.OrderedDict(a=1)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=modern)
    assert same(load_weights(tmp_path / "w.pth"), net())


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numbers_of_either_numpy(tmp_path, core):
    """numpy 2 renamed the module that the function which makes a number again is in; files keep the old name."""
    torch.save(
        {"net": net().state_dict(), "acc": np.float64(0.5)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False
    )
    content = (tmp_path / "w.pt").read_bytes()
    own = next(name for name in (b"numpy._core.multiarray", b"numpy.core.multiarray") if name in content)
    (tmp_path / "w.pt").write_bytes(content.replace(own, core))
    assert same(load_weights(tmp_path / "w.pt"), net())


@pytest.mark.parametrize(
    "thing",
    [np.zeros(3), np.array(["a"], dtype=object), pathlib.PurePosixPath("a"), nn.Linear(2, 2), torch.save, print],
)
def test_nothing_else_is_let_in(tmp_path, thing):
    torch.save({"net": net().state_dict(), "thing": thing}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="refused"):
        load_weights(tmp_path / "w.pt")


def test_what_is_let_in_is_let_in_for_our_own_reading_alone(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    torch.save({"net": net().state_dict(), "acc": np.float64(0.5)}, tmp_path / "w.pt")
    load_weights(tmp_path / "w.pt")
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.filterwarnings("ignore")
def test_an_archive_of_code_is_refused_without_a_hint_to_run_it(tmp_path):
    """torch's message, which we once passed on, says how to load it with code and all."""
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "w.pt"))
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "w.pt")
    assert "TorchScript archive holds code" in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_half_precision_is_taken_into_full(tmp_path):
    save_file(
        {name: t.half() if t.is_floating_point() else t for name, t in net().state_dict().items()},
        tmp_path / "w.safetensors",
    )
    model = net(1)
    load_into(model, load_weights(tmp_path / "w.safetensors"))
    assert model[0].weight.dtype == torch.float32
    torch.testing.assert_close(model[0].weight, net()[0].weight, atol=1e-3, rtol=1e-3)
