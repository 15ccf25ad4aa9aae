"""Losses of labels against plain transcriptions and the authors' own code, and what restarts keep by them."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pyautoattack.autopgd_base import APGDAttack
from torch import nn

from cases import labelled, renamed, sampled, shuffled, steady
from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.losses import LOSSES, CrossEntropy, LogitsRatio, Margin, labels_of
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.seeds import derive_generator

names = pytest.mark.parametrize("name", list(LOSSES))


def classes_enough(name, z):
    return z.shape[1] >= LOSSES[name].least_classes


def plain_ce(z, y):
    return math.log(sum(math.exp(v - max(z)) for v in z)) + max(z) - z[y]


def plain_margin(z, y):
    return max(v for j, v in enumerate(z) if j != y) - z[y]


def plain_dlr(z, y):
    """Croce and Hein (2020), Eq. 6: -(z_y - max_(i != y) z_i) / (z_pi1 - z_pi3), pi the order of decreasing logits."""
    ordered = sorted(z, reverse=True)
    return -(z[y] - max(v for i, v in enumerate(z) if i != y)) / (ordered[0] - ordered[min(2, len(z) - 1)])


PLAIN = {"ce": plain_ce, "margin": plain_margin, "dlr": plain_dlr}


@names
@steady
@given(case=labelled(untied=True) | sampled())
def test_equals_a_plain_transcription(name, case):
    z, y = case
    assume(classes_enough(name, z))
    found = LOSSES[name](y)(z)
    expected = [PLAIN[name](row, label) for row, label in zip(z.tolist(), y.tolist(), strict=True)]
    assert found.shape == y.shape
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_by_hand():
    z = torch.tensor([[5.0, 1.0, 3.0, 2.0], [5.0, 1.0, 3.0, 2.0], [5.0, 1.0, 3.0, 2.0]])
    y = torch.tensor([0, 2, 1])
    assert Margin(y)(z).tolist() == [-2, 2, 4]
    torch.testing.assert_close(LogitsRatio(y)(z), torch.tensor([-2 / 3, 2 / 3, 4 / 3]))
    whole = math.exp(5) + math.exp(1) + math.exp(3) + math.exp(2)
    expected = torch.tensor([math.log(whole) - v for v in (5.0, 3.0, 1.0)])
    torch.testing.assert_close(CrossEntropy(y)(z), expected)


@steady
@given(labelled(untied=True) | sampled())
def test_the_ratio_is_that_of_the_authors_code(case):
    z, y = case
    assume(z.shape[1] > 2)
    theirs = APGDAttack(nn.Identity(), eps=0.1, device="cpu").dlr_loss(z, y)
    torch.testing.assert_close(LogitsRatio(y)(z), theirs, rtol=1e-6, atol=1e-6)


@steady
@given(labelled())
def test_ranges(case):
    """For any logits, ties among them; the ratio is -1 to 0 where the model is right, and has no upper bound."""
    z, y = case
    assume(z.shape[1] > 2)
    ce, margin, dlr = (LOSSES[name](y) for name in ("ce", "margin", "dlr"))
    right = ~margin.fooled(z)
    assert (ce(z) >= 0).all()
    assert ce(z).isfinite().all()
    assert (margin(z)[right] <= 0).all()
    assert (margin(z)[~right] >= 0).all()
    assert ((dlr(z)[right] >= -1 - 1e-6) & (dlr(z)[right] <= 0)).all()
    assert (dlr(z)[~right] >= 0).all()
    assert dlr(z).isfinite().all()


@steady
@given(labelled(untied=True))
def test_margin_and_ratio_are_positive_where_the_model_is_fooled(case):
    """Ties aside."""
    z, y = case
    assume(z.shape[1] > 2)
    for name in LOSSES:
        assert torch.equal(LOSSES[name](y).fooled(z), z.argmax(dim=1) != y)
    fooled = Margin(y).fooled(z)
    assert torch.equal(Margin(y)(z) > 0, fooled)
    assert torch.equal(LogitsRatio(y)(z) > 0, fooled)
    assert (CrossEntropy(y)(z)[fooled] >= math.log(2) - 1e-6).all()


@steady
@given(sampled(), st.floats(0.01, 100), st.floats(-50, 50))
def test_no_scale_or_shift_changes_the_ratio(case, scale, shift):
    z, y = case
    assume(z.shape[1] > 2)
    z = z.double()
    dlr, margin, ce = LogitsRatio(y), Margin(y), CrossEntropy(y)
    torch.testing.assert_close(dlr(scale * z + shift), dlr(z), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(margin(scale * z + shift), scale * margin(z), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ce(z + shift), ce(z), rtol=1e-6, atol=1e-6)


@names
@steady
@given(case=labelled(untied=True), data=st.data())
def test_each_sample_has_its_own_loss(name, case, data):
    """To the bit in any order of samples; the numbers of classes play no part."""
    z, y = case
    assume(classes_enough(name, z))
    found = LOSSES[name](y)(z)
    order = shuffled(data.draw, len(y))
    assert torch.equal(LOSSES[name](y[order])(z[order]), found[order])
    other_z, other_y = renamed(data.draw, z, y)
    torch.testing.assert_close(LOSSES[name](other_y)(other_z), found, rtol=1e-5, atol=1e-6)


@names
@steady
@given(case=sampled(most=12))
def test_gradients_are_those_of_finite_differences(name, case):
    z, y = case
    assume(classes_enough(name, z))
    top = z.sort(dim=1, descending=True).values
    if (top[:, :-1] - top[:, 1:]).min() < 1e-3:  # a kink: another logit comes to be the largest
        return
    assert torch.autograd.gradcheck(LOSSES[name](y), z.double().requires_grad_(), eps=1e-6, atol=1e-4)


def test_only_losses_of_labels_have_labels():
    y = torch.tensor([1, 0])
    assert all(labels_of(loss(y), "square") is y for loss in LOSSES.values())
    with pytest.raises(ConfigError, match="attack 'square': aims at wrong answers"):
        labels_of(lambda z: z.sum(dim=1), "square")


FOOLS = torch.tensor([[0.4, 0.6, 1e-9]]).log()
"""The label 0 is not the answer, and its cross entropy is -log 0.4 = 0.92."""
DOUBTS = torch.tensor([[0.34, 0.33, 0.33]]).log()
"""The label 0 is the answer, and its cross entropy is -log 0.34 = 1.08, the larger one."""


class Step(nn.Module):
    """Bright images fool, dark ones are in doubt."""

    def forward(self, x):
        bright = (x.flatten(1).mean(dim=1) > 0.5)[:, None]
        return torch.where(bright, FOOLS, DOUBTS) + 0 * x.flatten(1).sum(dim=1, keepdim=True)


def kept(loss, brightnesses):
    """Which of the starts, one a restart, PGD without a step keeps."""
    left = list(brightnesses)
    attack = PGD(ThreatModel(eps=0.5), step_size=0.1, n_steps=0, n_restarts=len(left))
    found = attack(
        Step(),
        torch.full((2, 1, 2, 2), 0.5),
        loss,
        generator=derive_generator(0, "a"),
        start=lambda x, _: torch.full_like(x, left.pop(0)),
    )
    assert not left
    assert (found == found[0, 0, 0, 0]).all()
    return found[0, 0, 0, 0].item()


@pytest.mark.parametrize("starts", [(0.25, 0.75), (0.75, 0.25), (0.25, 0.75, 0.125), (0.125, 0.25, 0.75)])
def test_a_restart_that_fools_is_kept_before_one_with_a_larger_loss(starts):
    """By the largest loss alone, as of a loss without labels, the image that fools the model was lost."""
    y = torch.tensor([0, 0])
    loss = CrossEntropy(y)
    assert loss(DOUBTS.expand(2, 3))[0] > loss(FOOLS.expand(2, 3))[0]
    assert kept(loss, starts) == 0.75
    assert kept(lambda z: loss(z), starts) == next(s for s in starts if s < 0.5)


def test_among_restarts_that_fool_the_larger_loss_is_kept():
    """Where all images fool, or none does, the loss decides."""
    assert kept(CrossEntropy(torch.tensor([2, 2])), (0.25, 0.75)) == 0.75
    assert kept(CrossEntropy(torch.tensor([2, 2])), (0.75, 0.25)) == 0.75
    assert kept(CrossEntropy(torch.tensor([1, 1])), (0.75, 0.25)) == 0.25


def test_each_sample_keeps_its_own_restart():
    """Label 0 is fooled by the bright image, label 1 by the dark one."""
    left = [0.25, 0.75]
    attack = PGD(ThreatModel(eps=0.5), step_size=0.1, n_steps=0, n_restarts=2)
    found = attack(
        Step(),
        torch.full((2, 1, 2, 2), 0.5),
        Margin(torch.tensor([0, 1])),
        generator=derive_generator(0, "a"),
        start=lambda x, _: torch.full_like(x, left.pop(0)),
    )
    assert found[:, 0, 0, 0].tolist() == [0.75, 0.25]
