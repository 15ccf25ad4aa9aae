"""Trained runs that tests share, once a test process."""

import functools

import pytest
import sklearn.datasets
import torch
import typer.main
from hypothesis import settings

from overfit_lab.config import apply_overrides
from overfit_lab.config.recipes import recipe
from overfit_lab.training.run import train_run
from tiny import tiny_config

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
"""A test that is right on a busy machine too: how long an example takes says nothing about it."""

# Tests do both thousands of times: build the tree of all commands, and read the digits from a compressed text file.
typer.main.get_command = functools.cache(typer.main.get_command)
sklearn.datasets.load_digits = functools.cache(sklearn.datasets.load_digits)


def pytest_collection_modifyitems(items):
    """Modules with a slow test come first: one that is begun last keeps a worker busy while the others have ended."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def teacher_run(tmp_path_factory):
    """A run folder of two epochs of standard training on the data of tiny_config."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    threads = torch.get_num_threads()
    config = tiny_config("hard", epochs=2, objective="standard", probes={}, evaluation={"n_steps": 0})
    train_run(config, folder, device="cpu")
    torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A run folder of a network that was trained adversarially on clean digits: some 60% robust, in seconds."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = ["epochs=16", "data.noise={kind: none}", "schedule.milestones=[10,14]", "probes.metrics=none"]
    config = apply_overrides(recipe("digits-hard"), [*settings, "name=clean-digits", "evaluation.every=4"])
    train_run(config, folder, device="cpu")
    torch.set_num_threads(threads)
    return folder
