"""Predicted bytes against tensors and files of real runs."""

import pytest
import torch

from overfit_lab.config import apply_overrides
from overfit_lab.config.recipes import recipe
from overfit_lab.models.compute.memory import PeakBytes
from overfit_lab.records import layout
from overfit_lab.sweeps.cost.storage import checkpoint_bytes, device_bytes, disk_bytes
from overfit_lab.sweeps.cost.workload import workload
from overfit_lab.training.build import build
from overfit_lab.training.complete import complete
from overfit_lab.training.events import EventBus
from overfit_lab.training.loop import train
from overfit_lab.training.run import train_run

QUICK = ["epochs=3", "data.n_train=200", "data.n_test=64", "data.noise={kind: none}", "probes.metrics=none",
         "evaluation.n_steps=1", "evaluation.n_train=64", "schedule=constant", "attack.n_steps=1"]  # fmt: skip
CASES = {
    "hard": ["labels=hard"],
    "sglr": ["labels=sglr", "evaluation.every=2"],
    "te, kept checkpoints": ["labels={name: te, start_epoch: 1}", "checkpoint.every=1"],
    "ema": ["regularizers=[ema]"],
    "early stopping": ["regularizers=[early-stopping]", "data.n_val=64"],
    "no momentum": ["optimizer.momentum=0"],
    "a convolutional network": ["model={name: preact-resnet18, width: 8, blocks: [1, 1]}"],
    "trades, compact": ["objective=trades", "dynamics.keep=compact"],
    "statistics alone": ["objective=standard", "dynamics.keep=running"],
    "no dynamics": ["dynamics.keep=none"],
    "noise": ["evaluation.corruption=random-pixels"],
}


def config_of(case):
    return apply_overrides(recipe("digits-hard"), [*QUICK, *CASES[case]])


@pytest.mark.parametrize("case", list(CASES))
def test_disk(case, tmp_path):
    config = config_of(case)
    train_run(config, tmp_path / "run", device="cpu")
    work = workload(config)
    light, full = checkpoint_bytes(work)
    folder = layout.checkpoints(tmp_path / "run")
    found = {path.stem: path.stat().st_size for path in folder.glob("*.safetensors")}
    assert light == pytest.approx(found["best"], rel=0.01)
    assert full == pytest.approx(found["last"], rel=0.01)
    disk = disk_bytes(work)
    assert disk["checkpoints"] == pytest.approx(sum(found.values()), rel=0.01)
    records = layout.records_path(tmp_path / "run")
    dynamics = sum(path.stat().st_size for path in (tmp_path / "run" / "dynamics").glob("*"))
    if case in ("sglr", "te, kept checkpoints"):  # whose clean images come from some epoch on, and count from the first
        assert dynamics <= disk["dynamics"] <= 2 * dynamics
    else:
        assert disk["dynamics"] == dynamics
    assert (dynamics > 0) == (case != "no dynamics")
    assert disk["records"] == pytest.approx(records.stat().st_size, rel=0.1)


def held(session):
    """Bytes of the tensors that a run begins with; a storage that several share once."""
    splits = [t for split in session.data.splits.values() for t in vars(split).values() if isinstance(t, torch.Tensor)]
    kept = [*session.labels.state_dict().values(), *session.reference.values()]
    kept += [t for r in session.regularizers.values() for t in r.state_dict().values()]
    tensors = [*splits, *kept, *session.model.state_dict().values()]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


MEMORY = {
    "MLP": [],
    "wide MLP with AWP": ["model.hidden=512", "regularizers=[awp]"],
    "wide MLP with EMA": ["model.hidden=512", "regularizers=[ema]"],
    "wide MLP with early stopping": ["model.hidden=512", "regularizers=[early-stopping]", "data.n_val=64"],
    "label memory": ["labels=sglr", "data.n_train=1000", "model.hidden=16"],
    "convolutions": ["model={name: preact-resnet18, width: 16, blocks: [1, 1]}", "batch_size=64"],
    "convolutions, TRADES": ["model={name: preact-resnet18, width: 8, blocks: [1, 1]}", "objective=trades"],
    "evaluation above all": ["evaluation.n_test=300", "data.n_test=300", "evaluation.chunk=300", "model.hidden=16"],
}


@pytest.mark.parametrize("case", list(MEMORY))
def test_memory(case):
    config = apply_overrides(recipe("digits-hard"), [*QUICK, "compute.fold=false", "epochs=2", *MEMORY[case]])
    session = build(complete(config), torch.device("cpu"))
    begins = held(session)
    with PeakBytes() as count:
        train(session, EventBus())
    assert sum(device_bytes(workload(config)).values()) == pytest.approx(begins + count.peak, rel=0.15)


def test_a_batch_is_shared_and_bf16_takes_less():
    work = workload(apply_overrides(recipe("cifar10-small-hard"), ["evaluation.chunk=2", "evaluation.n_test=2"]))
    one, four = device_bytes(work)["step"], device_bytes(work, devices=4)["step"]
    assert 0.2 < four / one < 0.6
    assert 0.5 < device_bytes(work, precision="bf16")["step"] / one < 0.8
