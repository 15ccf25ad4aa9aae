"""A trained run that may serve as a teacher, once a test process."""

import pytest
import torch

from overfit_lab.experiment import train_run
from tiny import tiny_config


@pytest.fixture(scope="session")
def teacher_run(tmp_path_factory):
    """A run folder of two epochs of standard training on the data of tiny_config."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    threads = torch.get_num_threads()
    config = tiny_config("hard", epochs=2, objective="standard", probes={}, evaluation={"n_steps": 0})
    train_run(config, folder, device="cpu")
    torch.set_num_threads(threads)
    return folder
