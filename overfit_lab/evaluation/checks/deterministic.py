"""The same image gives the same logits."""

from __future__ import annotations

import torch

from overfit_lab.evaluation.checks.base import Bench, Finding, Share, finding
from overfit_lab.evaluation.run import take_samples
from overfit_lab.models.isolation import isolated
from overfit_lab.types import to_float

DIFFER = 0.01
"""Share of samples whose logits differ from one pass to the next."""
TOLERANCE = 1e-4
"""Difference that counts, as a share of the largest logit of the sample."""


def deterministic(bench: Bench) -> Finding:
    """Whether two passes of the same images give the same logits.

    A model that draws random numbers needs attacks that average over them; without those, its robust accuracy is the
    accuracy of chance (Athalye et al. 2018, arXiv 1802.00420). Cost: two forward passes.
    """
    samples = take_samples(bench.snapshot, bench.split, bench.n)
    model, differ = bench.snapshot.model, 0
    with isolated(model), torch.no_grad():
        for images in samples.x.split(bench.snapshot.chunk):
            first, second = (model(to_float(images)).double() for _ in range(2))
            size = first.abs().amax(dim=1)
            differ += int(((first - second).abs().amax(dim=1) > TOLERANCE * size).sum())
    share = Share("logits differ between two passes", differ, len(samples.y))
    return finding("deterministic", "the same image gives the same logits", share, DIFFER)


REGISTER = {"deterministic": deterministic}
