"""What holds for every label mode that is registered."""

import pytest
import torch

from overfit_lab.config.catalog import LABELS
from overfit_lab.config.options import parse_options
from overfit_lab.methods.labels.base import CleanForward, LabelContext, Refresh
from overfit_lab.types import Batch, Clock, Outputs
from parts import part

N, K, EPOCHS = 31, 4, 10
LATE = Clock(epoch=9, step=90, n_epochs=EPOCHS)

modes = pytest.mark.parametrize("name", list(LABELS))


def labels():
    return torch.randint(K, (N,), generator=torch.Generator().manual_seed(0))


def make(name, place="device"):
    given = part(LABELS, name, "another model")
    options = parse_options(
        LABELS[name], {key: value for key, value in given.items() if key != "name"}, prefix="labels"
    )
    context = LabelContext(labels(), K, EPOCHS, teacher=lambda _: lambda x: x.flatten(1), place=place)
    return LABELS[name](options, context)


def batch_of(index):
    images = torch.rand(N, 1, 2, 2, generator=torch.Generator().manual_seed(3))
    return Batch(x=images[index], y=labels()[index], index=index)


def visit(mode, index, seed=1):
    stream = torch.Generator().manual_seed(seed)
    clean, adv = (torch.randn(len(index), K, generator=stream) for _ in range(2))
    mode.update(batch_of(index), Outputs(clean=clean, adv=adv), LATE)


def everything_of(mode):
    """Every distribution that the mode asks for, of every sample, side by side."""
    targets = mode.targets(batch_of(torch.arange(N)), LATE)
    return torch.cat([rows for rows in (targets.probs, targets.consistency) if rows is not None], dim=1).clone()


@modes
def test_targets_are_distributions(name):
    mode = make(name)
    visit(mode, torch.arange(0, N, 2))
    for rows in everything_of(mode).split(K, dim=1):
        assert rows.shape == (N, K)
        assert rows.min() >= 0
        torch.testing.assert_close(rows.sum(1), torch.ones(N))


@modes
def test_another_prediction_is_another_target(name):
    first, second = make(name), make(name)
    visit(first, torch.arange(N), seed=1)
    visit(second, torch.arange(N), seed=2)
    differs = not torch.equal(everything_of(first), everything_of(second))
    asked = first.refresh is Refresh.BEFORE_ATTACK and first.clean_forward is not CleanForward.NONE
    listens = first.refresh is Refresh.AFTER_FORWARD or asked
    assert differs == listens


@modes
def test_targets_change_nothing(name):
    mode = make(name)
    visit(mode, torch.arange(5))
    before = {key: value.clone() for key, value in mode.state_dict().items()}
    first, second = everything_of(mode), everything_of(mode)
    assert torch.equal(first, second)
    assert all(torch.equal(before[key], value) for key, value in mode.state_dict().items())


@modes
def test_memory_of_samples_not_visited_stays(name):
    mode = make(name)
    before = everything_of(mode)
    visited = torch.tensor([3, 7, 8])
    visit(mode, visited)
    after = everything_of(mode)
    others = torch.ones(N, dtype=torch.bool)
    others[visited] = False
    assert torch.equal(before[others], after[others])
    if mode.refresh is not Refresh.NEVER:
        assert not torch.equal(before[visited], after[visited])


@modes
def test_a_restored_mode_goes_on_exactly(name):
    kept, stopped = make(name), make(name)
    for mode in (kept, stopped):
        visit(mode, torch.arange(10), seed=1)
    resumed = make(name)
    resumed.load_state_dict({key: value.clone() for key, value in stopped.state_dict().items()})
    for mode in (kept, resumed):
        visit(mode, torch.arange(5, 20), seed=2)
    assert torch.equal(everything_of(kept), everything_of(resumed))


@modes
def test_memory_on_disk_is_that_on_the_device_to_the_bit(name):
    device, disk = make(name), make(name, "disk")
    for seed, index in enumerate((torch.arange(10), torch.tensor([30, 2, 7]), torch.arange(0, N, 3))):
        visit(device, index, seed), visit(disk, index, seed)
        assert torch.equal(everything_of(device), everything_of(disk))
    kept, mapped = device.state_dict(), disk.state_dict()
    assert kept.keys() == mapped.keys()
    assert all(torch.equal(kept[key], mapped[key]) for key in kept)
    resumed = make(name, "disk")
    resumed.load_state_dict(kept)
    assert torch.equal(everything_of(resumed), everything_of(device))


@modes
def test_memory_of_another_shape_is_refused(name):
    mode = make(name)
    with pytest.raises(ValueError, match="label memory"):
        mode.load_state_dict({**mode.state_dict(), "stranger": torch.zeros(2)})
    for key, value in mode.state_dict().items():
        with pytest.raises(ValueError, match="shape"):
            mode.load_state_dict({**mode.state_dict(), key: torch.zeros(len(value) + 1, *value.shape[1:])})
