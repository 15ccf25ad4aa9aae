"""Two processes that share a run make the run that one process makes."""

import numpy as np
import pytest
import torch
from together import all_trained, both_ways, together

from image_sets import pictures, write_set
from overfit_lab.config.catalog import LABELS, OBJECTIVES, REGULARIZERS
from overfit_lab.config.permission import allow
from overfit_lab.processes.world import ALONE
from overfit_lab.training.complete import complete
from parts import part
from tiny import tiny_config

PLAIN = {"name": "together:plain"}
L2 = {"norm": "l2", "eps": 0.5, "step_size": 0.2, "n_steps": 2, "n_restarts": 2}
"""Its steps follow the gradient, not its sign. Near the clean image TRADES' gradient is so small that rounding turns
signs, and with the sign a pixel moves by two steps: there l_inf runs part for good after a few steps."""


def config_of(labels="sglr", **changes):
    """An epoch over 101 samples in batches of 32, of which the last one holds 5."""
    data = {
        "name": "digits", "n_train": 101, "n_val": 20, "n_test": 40, "augment": ["crop", "flip"], "crop_padding": 1,
        "noise": {"kind": "symmetric-flip", "rate": 0.3},
    }  # fmt: skip
    allow("together:plain")
    given = {"epochs": 1, "data": data, "probes": {}, "model": PLAIN, "schedule": "constant", **changes}
    return tiny_config(labels, **given)


def cases(teacher):
    """Every label mode, objective and regularizer, with its memory active from the first epoch."""
    now = {"sglr": {"start_epoch": 0}, "te": {"start_epoch": 0, "ramp_end": 0}}
    found = {}
    for name in LABELS:
        labels = {**part(LABELS, name, teacher), **now.get(name, {})}
        found[f"labels {name}"] = config_of(labels)
    for name in OBJECTIVES:
        found[f"objective {name}"] = config_of("hard", objective=name)
    for name in REGULARIZERS:
        labels = "smooth" if REGULARIZERS[name].mixes_samples else {"name": "sglr", "start_epoch": 0}
        found[f"regularizer {name}"] = config_of(labels, regularizers=[part(REGULARIZERS, name, teacher)])
    small = config_of().data.model_dump(mode="json") | {"n_train": 99}
    found["a last batch of three"] = config_of({"name": "sglr", "start_epoch": 0}, data=small)
    found["l_2 attack with restarts"] = config_of("hard", attack=L2)
    return {name: complete(config) for name, config in found.items()}


def with_batch_norm(teacher):
    model = {"name": "mlp", "hidden": 16}
    now, te = {"name": "sglr", "start_epoch": 0}, {"name": "te", "start_epoch": 0, "ramp_end": 0}
    far_start = {"name": "trades", "start_std": 0.05}  # where the direction of its gradient is no matter of rounding
    attack = {"eps": 0.1, "step_size": 0.025, "n_steps": 2, "bn_mode": "train"}
    picked = {
        "hard": config_of("hard", model=model),
        "sglr": config_of(now, model=model),
        "te": config_of(te, model=model),
        "trades": config_of("hard", model=model, objective=far_start, attack=L2),
        "attack in train mode": config_of("hard", model=model, attack=attack),
        "awp, swa": config_of(now, model=model, regularizers=["awp", "swa", "ema"]),
        "convolutions": config_of(now, model={"name": "small-cnn", "width": 4}),
    }
    return {name: complete(config) for name, config in picked.items()}


def largest_difference(one, other):
    """Over losses, memories and weights."""
    tensors = [(one["losses"], other["losses"])]
    for kind in ("memories", "weights"):
        assert one[kind].keys() == other[kind].keys()
        tensors += [(one[kind][name], other[kind][name]) for name in one[kind]]
    return max((a.double() - b.double()).abs().max().item() for a, b in tensors if a.numel())


def from_disk(folder):
    """Two processes that decode their own rows of each batch, and what has everything in memory."""
    name = write_set("webdataset", folder / "set", pictures(180), [k % 5 for k in range(180)])
    data = {"name": name, "n_train": 101, "n_test": 40, "augment": ["crop", "flip"], "crop_padding": 1}
    streamed, rows = {**data, "stream": True, "workers": 1}, {"name": "sglr", "start_epoch": 0}
    mixup = {"regularizers": ["mixup"]}
    shared = {
        "streamed rows": config_of(rows, data=streamed, compute={"label_memory": "disk"}),
        "streamed mixup": config_of("smooth", data=streamed, **mixup),
    }
    alone = {
        "streamed rows": config_of(rows, data={**data, "stream": False}, compute={"label_memory": "device"}),
        "streamed mixup": config_of("smooth", data={**data, "stream": False}, **mixup),
    }
    return [{name: complete(config) for name, config in configs.items()} for configs in (alone, shared)]


@pytest.fixture(scope="module")
def pairs(teacher_run, tmp_path_factory):
    configs = cases(teacher_run)
    alone, shared = from_disk(tmp_path_factory.mktemp("images"))
    found = together(all_trained, configs | shared, folder=tmp_path_factory.mktemp("shared"))
    return all_trained(ALONE, configs | alone), found


def test_without_batch_norm(pairs):
    alone, (first, _) = pairs
    different = {name: largest_difference(alone[name], first[name]) for name in alone}
    assert all(d <= 1e-6 for d in different.values()), different


def test_label_memory_is_the_same_on_every_process(pairs):
    _, (first, second) = pairs
    for name in first:
        for kind in ("memories", "weights"):
            assert all(torch.equal(first[name][kind][key], second[name][kind][key]) for key in first[name][kind]), name
        assert torch.equal(first[name]["losses"], second[name]["losses"])
        assert first[name]["values"] == second[name]["values"]


def test_dynamics_are_those_of_one_process(pairs):
    alone, (first, second) = pairs
    for name, one in alone.items():
        shared = first[name]["dynamics"]
        assert second[name]["dynamics"] == {}  # the first process writes
        assert shared.keys() == one["dynamics"].keys() != set(), name
        for key, expected in one["dynamics"].items():
            np.testing.assert_allclose(shared[key], expected, rtol=1e-4, atol=1e-5, err_msg=f"{name}: {key}")
    assert {key.partition("/")[0] for one in alone.values() for key in one["dynamics"]} == {"adversarial", "clean"}


def test_label_memory_took_every_sample_in(pairs):
    _, (first, _) = pairs
    rows = first["labels te"]["memories"]["sums"]
    assert (rows.sum(dim=1) > 0).all()


def test_numbers_of_the_epoch(pairs):
    alone, (first, _) = pairs
    for name, one in alone.items():
        for field, value in one["values"].items():
            assert first[name]["values"][field] == pytest.approx(value, rel=1e-4, abs=1e-6), (name, field)


BFLOAT16 = "bf16"
"""Equal to the precision of bfloat16 alone."""


@pytest.fixture(scope="module")
def pairs_with_batch_norm(teacher_run, tmp_path_factory):
    """By one process, by two whose batch norm is synchronised, and of some by two whose batch norm is not."""
    configs = with_batch_norm(teacher_run)
    small = {"name": "small-cnn", "width": 4}
    configs[BFLOAT16] = complete(config_of("hard", model=small, compute={"precision": "bf16"}))
    apart = {name: configs[name] for name in ("hard", "convolutions")}
    found = together(both_ways, configs, apart, folder=tmp_path_factory.mktemp("shared"))
    return all_trained(ALONE, configs), [one for one, _ in found], [other for _, other in found]


def test_with_synchronised_batch_norm(pairs_with_batch_norm):
    alone, (first, second), _ = pairs_with_batch_norm
    different = {name: largest_difference(alone[name], first[name]) for name in alone if name != BFLOAT16}
    assert all(d <= 1e-5 for d in different.values()), different
    for name in first:
        assert all(
            torch.equal(first[name]["weights"][key], second[name]["weights"][key]) for key in first[name]["weights"]
        )


def test_batch_norm_per_device_is_another_run_but_one_model(pairs_with_batch_norm):
    alone, _, (first, second) = pairs_with_batch_norm
    assert len(first) == 2
    for name in first:
        assert largest_difference(alone[name], first[name]) > 1e-4
        assert largest_difference(first[name], second[name]) == 0


def test_mixed_precision_is_shared(pairs_with_batch_norm):
    alone, shared, _ = pairs_with_batch_norm
    for found in shared:
        assert largest_difference({**alone[BFLOAT16], "weights": {}}, {**found[BFLOAT16], "weights": {}}) < 0.05
