"""How cost grows, and what the constants mean."""

import json
from dataclasses import replace

import pytest
import torch

from overfit_lab.config import ComputeConfig, DataConfig, apply_overrides
from overfit_lab.config.catalog import DATASETS, HARDWARE
from overfit_lab.config.recipes import recipe
from overfit_lab.data.dataset import load_dataset
from overfit_lab.errors import ConfigError
from overfit_lab.models.factory import build_model
from overfit_lab.sweeps.cost.calibrate import calibrate, solve
from overfit_lab.sweeps.cost.counting import Step, Work, steps_of_epochs
from overfit_lab.sweeps.cost.data_shape import KNOWN, DataShape, data_shape
from overfit_lab.sweeps.cost.estimate import estimate, price, total
from overfit_lab.sweeps.cost.hardware import Hardware
from overfit_lab.sweeps.cost.storage import device_bytes, disk_bytes
from overfit_lab.sweeps.cost.workload import workload
from tiny import tiny_config

PLAIN = ["probes.metrics=none", "schedule=constant", "epochs=4"]


def config_of(*changes, name="digits-hard"):
    return apply_overrides(recipe(name), [*PLAIN, *changes])


def flops(*changes):
    return workload(config_of(*changes)).training.flops


def test_work_is_proportional_to_images_and_epochs_and_linear_in_attack_steps():
    assert flops("data.n_train=200") * 2 == flops("data.n_train=400")
    assert flops("epochs=2") * 3 == flops("epochs=6")
    none, one, seven = (flops(f"attack.n_steps={n}") for n in (0, 1, 7))
    assert none < one
    assert seven - none == 7 * (one - none)
    assert flops("attack.n_steps=7", "attack.n_restarts=2") > 2 * (seven - none)


def test_a_pgd_10_step_is_23_forward_passes_less_the_first_layers_image_gradient():
    """By hand: a multiply and an add are two; of the update's backward pass nobody asks for the images' gradient."""
    work = workload(config_of("attack.n_steps=10", "epochs=1"))
    forward, first = 2 * (64 * 256 + 256 * 256 + 256 * 10), 2 * 64 * 256
    assert work.counts.forward == forward
    assert work.parts["attack"].flops == work.data.n_train * 2 * 10 * forward
    assert work.parts["update"].flops == work.data.n_train * (3 * forward - first)


def test_convolutions_by_hand():
    config = config_of("model={name: small-cnn, width: 8}", "attack.n_steps=0", "epochs=1", "evaluation.n_steps=0")
    model = build_model(config.model, load_dataset(config.data, 0, "cpu"), torch.device("cpu"), seed=0)
    sides, hooks, by_hand = {}, [], 0
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            hooks.append(module.register_forward_hook(lambda m, _, out: sides.__setitem__(m, out[0, 0].numel())))
    model.eval()(torch.zeros(1, 1, 8, 8))
    by_hand = sum(2 * m.weight.numel() * n for m, n in sides.items())
    assert len(sides) > 2
    assert workload(config).counts.forward == by_hand


def test_published_count_of_resnet_50():
    """4.1 billion multiplies and adds: what torchvision prints of its weights (4.09)."""
    shape = DataShape(64, 0, 64, (3, 224, 224), 1000)
    config = config_of("model={name: 'torchvision:resnet50'}", "attack.n_steps=0", "evaluation.n_steps=0")
    counts = workload(config.model_copy(update={"data": DataConfig(name="imagenet")}), shape).counts
    assert counts.forward / 2e9 == pytest.approx(4.09, rel=0.002)
    assert counts.n_parameters == 25_557_032


def test_epochs_between_two_with_other_steps_are_told_apart():
    plain, more = (Step(Work(flops, 1), Work(1, 1), 1) for flops in (1, 2))
    asked = []

    def count(epoch):
        asked.append(epoch)
        return more if epoch >= 37 else plain

    kinds = steps_of_epochs(count, 0, 199)
    assert sum(n for n, step in kinds if step is plain) == 37
    assert sum(n for n, _ in kinds) == 200
    assert len(set(asked)) < 20
    assert steps_of_epochs(count, 5, 5) == [(1, plain)]


def test_more_devices_take_less_time_and_exchange_more():
    work = workload(config_of(name="cifar10-small-hard"))
    link = replace(HARDWARE["a100"], overlaps=False, op_seconds=0.0)
    one, two, eight = (price(work, link, devices) for devices in (1, 2, 8))
    assert one.seconds["exchange"] == 0
    assert one.seconds["attack"] == pytest.approx(8 * eight.seconds["attack"])
    assert eight.seconds["exchange"] > two.seconds["exchange"] > 0
    n_bytes, rate, latency = 4 * work.counts.n_parameters, link.link_bytes, link.link_latency
    per_step = 2 * 7 / 8 * n_bytes / rate + 14 * latency
    assert eight.seconds["exchange"] == pytest.approx(work.n_steps * per_step)
    awp = workload(config_of("regularizers=[awp]", name="cifar10-small-hard"))
    assert awp.n_exchanges == 2 * work.n_exchanges == 2 * work.n_steps
    trades = workload(config_of("objective=trades", name="cifar10-small-hard"))
    assert trades.n_exchanges == trades.n_steps


def test_launches_are_hidden_on_a_gpu_and_add_up_on_a_cpu():
    cpu = Hardware("", {"fp32": 10.0}, {"fp32": 0.5}, op_seconds=2.0, overlaps=False, source="")
    assert cpu.seconds(100, 3, "fp32") == 100 / 5 + 6
    assert replace(cpu, overlaps=True).seconds(100, 3, "fp32") == 20
    assert replace(cpu, overlaps=True).seconds(100, 30, "fp32") == 60


def test_mixed_precision_where_the_device_has_it():
    config = config_of("compute.precision=auto")
    assert estimate(config, "a100").precision == "bf16"
    assert estimate(config, "v100").precision == estimate(config, "epyc-core").precision == "fp32"
    assert estimate(apply_overrides(config, ["compute.precision=fp32"]), "a100").precision == "fp32"


@pytest.mark.parametrize("name", list(HARDWARE))
def test_every_device_says_where_its_numbers_come_from(name):
    device = HARDWARE[name]
    assert device.source
    assert device.measured or "assumed" in device.source
    assert 0 < device.rate(device.precision) <= device.peak[device.precision]
    assert set(device.peak) == set(device.share)


def test_json_holds_plain_numbers_that_add_up():
    cost = estimate(config_of("labels=kd", "labels.teacher=train:pgd-at"), "a100", devices=2)
    found = json.loads(json.dumps(cost.to_dict()))
    assert found["seconds"]["total"] == pytest.approx(cost.total_seconds)
    for group in ("seconds", "memory_bytes", "disk_bytes"):
        parts = dict(found[group])
        assert parts.pop("total") == pytest.approx(sum(parts.values()))
    assert found["flops"]["total"] > sum(v for k, v in found["flops"].items() if k != "total")  # the teacher's
    assert found["seconds"]["teachers"] > 0
    assert total([cost, cost])["flops"] == 2 * cost.work.flops
    assert total([cost, cost])["memory_bytes"] == total([cost])["memory_bytes"]


@pytest.mark.parametrize(
    "data", [{}, {"n_train": 300}, {"n_val": 100, "n_test": 200}, {"n_train": 10, "n_val": 7, "n_test": 5}]
)
def test_sizes_without_the_data_are_those_with_it(data):
    config = DataConfig(name="digits", **data)
    loaded = load_dataset(config, 0, "cpu")
    shape = data_shape(config, 0)
    assert {name: n for name, n in shape.sizes.items() if n} == {k: len(s) for k, s in loaded.splits.items()}
    assert shape.shape == loaded.shape
    assert shape.n_classes == loaded.n_classes


def test_sizes_of_sets_that_are_not_here():
    assert data_shape(DataConfig(name="cifar10", n_val=1000), 0).n_train == 49_000
    assert data_shape(DataConfig(name="svhn", n_test=20), 0).sizes == {"train": 73_257, "val": 0, "test": 20}
    with pytest.raises(ConfigError, match="n_train = 60000: only 50000"):
        data_shape(DataConfig(name="cifar10", n_train=60_000), 0)
    with pytest.raises(ConfigError, match="not known and it is not here; give --data"):
        data_shape(DataConfig(name="imagefolder:nowhere"), 0)
    assert data_shape(DataConfig(name="imagenet:DIR", image_size=160), 0).shape == (3, 160, 160)
    assert set(KNOWN) <= set(DATASETS)


def test_a_streamed_set_and_rows_on_disk_take_no_room_on_the_device():
    work = workload(recipe("imagenet-sglr"))
    memory, disk = device_bytes(work), disk_bytes(work)
    assert memory["label memory"] == 0
    assert disk["label memory"] == 1_281_167 * 1000 * 4
    assert memory["images"] == (1_281_167 + 50_000) * 25 + 3 * 512 * 3 * 224 * 224
    kept = work.config.model_copy(update={"compute": ComputeConfig(label_memory="device"), "data": DataConfig(
        name="imagenet", image_size=224, stream=False)})  # fmt: skip
    whole = device_bytes(workload(kept))
    assert whole["label memory"] == disk["label memory"]
    assert whole["images"] == (1_281_167 + 50_000) * (25 + 3 * 224 * 224)


def test_two_readings_give_both_constants_back():
    readings = [(Work(10**9, 500), 10**9 / 4e9 + 500 * 3e-6), (Work(10**10, 900), 10**10 / 4e9 + 900 * 3e-6)]
    assert solve(*readings) == pytest.approx((4e9, 3e-6))
    slower = [(Work(10**9, 500), 1.0), (Work(10**10, 900), 0.1)]
    assert solve(*slower) == (1e9, 0.0)


def test_calibration_gives_a_rate_and_leaves_no_trace():
    config = tiny_config({"name": "kd", "teacher": "train:pgd-at"})
    work = workload(config)
    before = torch.get_rng_state()
    device = calibrate(work, torch.device("cpu"), steps=1)
    assert torch.equal(before, torch.get_rng_state())
    assert device.measured
    assert device.rate("fp32") > 0
    assert price(work, device).total_seconds > 0
