"""SGLR's rows against a naive transcription of Eqs. 5 to 8, sample by sample, in plain Python."""

import math

import pytest
import torch

from overfit_lab.config import parse_config
from overfit_lab.methods.labels.base import LabelContext
from overfit_lab.methods.labels.sglr import Sglr, SglrOptions
from overfit_lab.types import Batch, Clock, Outputs

N, K, EPOCHS = 23, 5, 6


def naive_softmax(logits, temperature):
    scaled = [z / temperature for z in logits]
    top = max(scaled)
    exps = [math.exp(z - top) for z in scaled]
    return [e / sum(exps) for e in exps]


def naive_rows(labels, visits, a, lam, temperature):
    """p_0 = e_y; then one average a visit, in the order of the visits."""
    rows = [[1.0 if k == y else 0.0 for k in range(K)] for y in labels]
    for i, clean, adv in visits:
        p_clean, p_adv = naive_softmax(clean, temperature), naive_softmax(adv, temperature)
        f = [lam * c + (1 - lam) * v for c, v in zip(p_clean, p_adv, strict=True)]
        rows[i] = [a * p + (1 - a) * q for p, q in zip(rows[i], f, strict=True)]
    return rows


@pytest.mark.parametrize(
    ("a", "lam", "r", "temperature"), [(0.9, 0.2, 0.2, 1.0), (0.5, 1.0, 0.7, 0.5), (0.0, 0.0, 1.0, 2.0)]
)
def test_rows_and_targets_equal_naive_transcription(a, lam, r, temperature):
    stream = torch.Generator().manual_seed(3)
    y = torch.randint(K, (N,), generator=stream)
    mode = Sglr(SglrOptions(a=a, lam=lam, r=r, temperature=temperature), LabelContext(y, K, EPOCHS))
    visits = []
    for epoch in range(EPOCHS):
        for index in torch.randperm(N, generator=stream).split(4):
            clean, adv = (3 * torch.randn(len(index), K, generator=stream) for _ in range(2))
            batch = Batch(x=torch.zeros(len(index), 1, 1, 1), y=y[index], index=index)
            mode.update(batch, Outputs(clean=clean, adv=adv), Clock(epoch, 0, EPOCHS))
            visits += list(zip(index.tolist(), clean.tolist(), adv.tolist(), strict=True))
    rows = naive_rows(y.tolist(), visits, a, lam, temperature)
    expected = torch.tensor(rows)
    torch.testing.assert_close(mode.rows.tensor, expected, atol=2e-6, rtol=0)
    everything = Batch(x=torch.zeros(N, 1, 1, 1), y=y, index=torch.arange(N))
    targets = mode.targets(everything, Clock(EPOCHS, 0, EPOCHS)).probs
    hard = torch.nn.functional.one_hot(y, K).float()
    torch.testing.assert_close(targets, r * expected + (1 - r) * hard, atol=2e-6, rtol=0)


def test_presets_are_the_paper_and_the_authors_code():
    paper, code = SglrOptions(), SglrOptions(preset="authors-code")
    assert (paper.r, paper.a, paper.lam, paper.temperature, paper.start_epoch) == (0.2, 0.9, 0.2, 1.0, 0)
    assert (code.r, code.a, code.lam, code.temperature, code.start_epoch) == (1.0, 0.9, 0.2, 1.0, "45%")
    assert (paper.clean_forward, code.clean_forward) == ("frozen", "train")
    assert SglrOptions(preset="authors-code", r=0.4).r == 0.4
    assert parse_config({"labels": {"name": "sglr", "T": 0.5}}).labels.options == {"T": 0.5}
    assert SglrOptions.model_validate({"T": 0.5}).temperature == 0.5


def test_authors_code_starts_at_epoch_90_of_200():
    mode = Sglr(SglrOptions(preset="authors-code"), LabelContext(torch.zeros(3, dtype=torch.int64), K, 200))
    assert not mode.active(Clock(89, 0, 200))
    assert mode.active(Clock(90, 0, 200))


def test_without_an_attack_the_clean_prediction_stands_for_both():
    y = torch.tensor([1])
    mode = Sglr(SglrOptions(a=0.0, lam=0.3, r=1.0), LabelContext(y, K, 1))
    logits = torch.randn(1, K, generator=torch.Generator().manual_seed(0))
    mode.update(Batch(torch.zeros(1, 1, 1, 1), y, torch.tensor([0])), Outputs(clean=logits), Clock(0, 0, 1))
    torch.testing.assert_close(mode.rows.tensor, torch.softmax(logits, 1))
