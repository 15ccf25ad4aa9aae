"""A checkpoint whose sums are right and whose notes are not: written so by somebody, or by another version."""

import copy

import pytest
import torch

from overfit_lab.config import parse_config
from overfit_lab.errors import RunFolderError
from overfit_lab.files.tensorfile import read_tensors, write_tensors
from overfit_lab.training.build import build
from overfit_lab.training.checkpoint import load_checkpoint, restore, save_checkpoint
from overfit_lab.training.complete import complete

CONFIG = {
    "data": {"name": "digits", "n_train": 20, "n_test": 20},
    "model": "mlp",
    "epochs": 2,
    "batch_size": 10,
    "optimizer": {"momentum": 0.9},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    session = build(complete(parse_config(CONFIG)), torch.device("cpu"))
    path = tmp_path_factory.mktemp("checkpoint") / "last.safetensors"
    for parameter in session.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    session.optimizer.step()
    save_checkpoint(path, session, resumable=True)
    return session, path


WRONG = {
    "python": lambda meta, _: meta["streams"].update(python=[3, [1, 2], None]),
    "python's kind": lambda meta, _: meta["streams"].update(python=["x", [], None]),
    "python of text": lambda meta, _: meta["streams"].update(python="abc"),
    "numpy": lambda meta, _: meta["streams"].update(numpy=["MT19937", "x", 0, 0.0]),
    "numpy's kind": lambda meta, _: meta["streams"].update(numpy=["PCG", 0, 0, 0.0]),
    "no numpy": lambda meta, _: meta["streams"].pop("numpy"),
    "devices": lambda meta, _: meta["streams"].update(n_cuda="two"),
    "streams": lambda meta, _: meta.update(streams=[1]),
    "clock": lambda meta, _: meta.update(clock={"epoch": 1}),
    "notes": lambda meta, _: meta.pop("notes"),
    "optimizer": lambda meta, _: meta.update(optimizer=[1]),
    "states of no parameter": lambda _, tensors: tensors.update({"optimizer/999/momentum_buffer": torch.ones(3)}),
    "numpy's words": lambda _, tensors: tensors.update({"streams/numpy": torch.ones(3, dtype=torch.int64)}),
    "torch's words": lambda _, tensors: tensors.update({"streams/cpu": torch.ones(3)}),
    "torch's bytes": lambda _, tensors: tensors.update({"streams/cpu": torch.ones(3, dtype=torch.uint8)}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_part_that_is_none_is_one_line(saved, tmp_path, name):
    session, path = saved
    meta, tensors = read_tensors(path)
    meta, tensors = copy.deepcopy(meta), dict(tensors)
    WRONG[name](meta, tensors)
    write_tensors(tmp_path / "last.safetensors", tensors, meta)
    with pytest.raises(RunFolderError, match="damaged") as caught:
        restore(session, load_checkpoint(tmp_path / "last.safetensors"))
    assert len(str(caught.value).splitlines()) == 1


def test_an_honest_one_is_restored(saved):
    session, path = saved
    restore(session, load_checkpoint(path))
