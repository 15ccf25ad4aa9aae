"""Invariants of the label modes' options."""

import pytest
import torch

from overfit_lab.config.catalog import LABELS
from overfit_lab.config.options import parse_options
from overfit_lab.errors import ConfigError, UnknownNameError
from overfit_lab.methods.labels.base import LabelContext
from overfit_lab.types import Batch, Clock, Outputs

K = 3
Y = torch.tensor([0, 2, 1])
BATCH = Batch(x=torch.zeros(3, 1, 1, 1), y=Y, index=torch.arange(3))
CLOCK = Clock(0, 0, 1)
HARD = torch.eye(K)[Y]


def make(name, **options):
    return LABELS[name](parse_options(LABELS[name], options, prefix="labels"), LabelContext(Y, K, 1))


def visited(mode):
    logits = torch.randn(3, K, generator=torch.Generator().manual_seed(5))
    mode.update(BATCH, Outputs(clean=logits, adv=-logits), CLOCK)
    return mode


def test_sglr_with_r_0_is_hard_labels_exactly():
    assert torch.equal(visited(make("sglr", r=0)).targets(BATCH, CLOCK).probs, HARD)


def test_sglr_with_a_1_keeps_its_first_rows():
    assert torch.equal(visited(make("sglr", a=1, r=1)).targets(BATCH, CLOCK).probs, HARD)


def test_smooth_by_hand():
    expected = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]])
    torch.testing.assert_close(make("smooth", r=0.3).targets(BATCH, CLOCK).probs, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 1.5}, "labels.r = 1.5"),
        ({"a": -0.1}, "labels.a = -0.1"),
        ({"lam": 2}, "labels.lam = 2"),
        ({"temperature": 0}, "labels.temperature = 0"),
        ({"start_epoch": "120%"}, "between 0% and 100%"),
        ({"start_epoch": 1.5}, "labels.start_epoch = 1.5"),
        ({"temperatur": 1}, "did you mean temperature"),
        ({"preset": "code"}, "labels.preset = 'code'"),
        ({"T": 1, "temperature": 2}, "same option"),
    ],
)
def test_options_out_of_bounds_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        make("sglr", **options)


def test_an_unknown_label_mode_answers_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean sglr"):
        LABELS["sgrl"]
