"""What holds for every label mode that is registered."""

import pytest
import torch

from overfit_lab.catalog import LABELS
from overfit_lab.labels.base import LabelContext, Refresh
from overfit_lab.options import parse_options
from overfit_lab.types import Batch, Clock, Outputs

N, K, EPOCHS = 31, 4, 10
LATE = Clock(epoch=9, step=90, n_epochs=EPOCHS)

modes = pytest.mark.parametrize("name", list(LABELS))


def labels():
    return torch.randint(K, (N,), generator=torch.Generator().manual_seed(0))


def make(name):
    return LABELS[name](parse_options(LABELS[name], {}, prefix="labels"), LabelContext(labels(), K, EPOCHS))


def batch_of(index):
    return Batch(x=torch.zeros(len(index), 1, 2, 2), y=labels()[index], index=index)


def visit(mode, index, seed=1):
    stream = torch.Generator().manual_seed(seed)
    clean, adv = (torch.randn(len(index), K, generator=stream) for _ in range(2))
    mode.update(batch_of(index), Outputs(clean=clean, adv=adv), LATE)


@modes
def test_targets_are_distributions(name):
    mode = make(name)
    visit(mode, torch.arange(0, N, 2))
    probs = mode.targets(batch_of(torch.arange(N)), LATE).probs
    assert probs.shape == (N, K)
    assert probs.min() >= 0
    torch.testing.assert_close(probs.sum(1), torch.ones(N))


@modes
def test_targets_change_nothing(name):
    mode = make(name)
    visit(mode, torch.arange(5))
    before = {key: value.clone() for key, value in mode.state_dict().items()}
    first = mode.targets(batch_of(torch.arange(N)), LATE).probs.clone()
    second = mode.targets(batch_of(torch.arange(N)), LATE).probs
    assert torch.equal(first, second)
    assert all(torch.equal(before[key], value) for key, value in mode.state_dict().items())


@modes
def test_memory_of_samples_not_visited_stays(name):
    mode = make(name)
    before = mode.targets(batch_of(torch.arange(N)), LATE).probs.clone()
    visited = torch.tensor([3, 7, 8])
    visit(mode, visited)
    after = mode.targets(batch_of(torch.arange(N)), LATE).probs
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
    everything = batch_of(torch.arange(N))
    assert torch.equal(kept.targets(everything, LATE).probs, resumed.targets(everything, LATE).probs)


@modes
def test_memory_of_another_shape_is_refused(name):
    mode = make(name)
    with pytest.raises(ValueError, match="label memory"):
        mode.load_state_dict({**mode.state_dict(), "stranger": torch.zeros(2)})
    for key, value in mode.state_dict().items():
        with pytest.raises(ValueError, match="shape"):
            mode.load_state_dict({**mode.state_dict(), key: torch.zeros(len(value) + 1, *value.shape[1:])})
