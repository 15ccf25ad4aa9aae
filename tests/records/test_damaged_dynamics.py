"""Dynamics that somebody damaged, also with checksums that agree, are read or refused in one line."""

import random
import shutil

import numpy as np
import pytest
import torch

from faults import mutations
from overfit_lab.errors import RunFolderError
from overfit_lab.processes.share import Share
from overfit_lab.records.dynamics import QUANTITIES, FolderDynamics
from overfit_lab.records.dynamics_writer import DynamicsWriter, drop_dynamics_after
from overfit_lab.training.dynamics import Dynamics, Statistics
from overfit_lab.types import Batch, Outputs

N, CLASSES, EPOCHS = 12, 3, 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for level in ("full", "compact"):
        dynamics, writer = Dynamics(N, torch.device("cpu")), DynamicsWriter(folder / level, level)
        index = torch.arange(N)
        for epoch in range(1, EPOCHS + 1):
            logits = torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(epoch))
            dynamics.take_step(Batch(index, index % CLASSES, index), Outputs(adv=logits), Share(N))
            dynamics.end_epoch(epoch, writer.write)
    return folder


def look(folder):
    """Everything that a reader may ask for."""
    found = FolderDynamics(folder)["adversarial"]
    assert found.n_samples >= 1
    for name in (*QUANTITIES, "predicted"):
        if found.level == "full" or (found.level == "compact" and name in ("margin", "predicted")):
            assert getattr(found, name).shape == (found.n_samples, len(found.epochs))
    for array in found.running.values():
        assert array.shape == (found.n_samples,)
        np.asarray(array).sum()
    if found.probabilities is not None:
        assert found.probabilities.shape == (found.n_samples, found.n_classes)
    return found


@pytest.mark.parametrize("level", ["full", "compact"])
def test_whatever_becomes_of_a_file(level, whole, tmp_path):
    refused = []
    for seed in range(120):
        stream, folder = random.Random(seed), tmp_path / str(seed)
        shutil.copytree(whole / level, folder)
        path = folder / "dynamics" / stream.choice(["train-adversarial.columns", "train-adversarial-running.columns"])
        stream.choice((mutations.column_head, mutations.column_block, *mutations.ANY))(stream, path)
        for what in (look, lambda place: drop_dynamics_after(place, 2)):
            try:
                what(folder)
            except RunFolderError as error:
                refused.append(str(error))
            except KeyError:
                assert not any(file.is_file() for file in (folder / "dynamics").glob("*")), seed
        shutil.rmtree(folder)
    assert len(refused) > 60
    assert not any("\n" in message for message in refused)


def test_the_two_files_of_a_view_have_to_belong_together(whole, tmp_path):
    shutil.copytree(whole / "full", tmp_path / "run")
    other = Dynamics(N, torch.device("cpu"))
    index = torch.arange(N)
    other.take_step(Batch(index, index % 2, index), Outputs(adv=torch.zeros(N, CLASSES + 1)), Share(N))
    other.end_epoch(1, None)
    view = other.views["adversarial"]
    DynamicsWriter(tmp_path / "run", "full").write_running("adversarial", 1, Statistics(view.running), view.n_classes)
    with pytest.raises(RunFolderError, match=r"damaged, its number of classes is 3"):
        look(tmp_path / "run")
