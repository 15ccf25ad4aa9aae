"""What a network says of each sample: the numbers that training dynamics are made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from overfit_lab.types import widened

LARGEST = 65504.0
"""The largest number of float16; loss and margin are cut to it."""


class SampleOutputs(NamedTuple):
    """Numbers of each sample (n,); ``probabilities`` (n, K).

    ``finite`` is False where a logit is not finite; the other numbers mean nothing there.
    """

    loss: Tensor
    margin: Tensor
    probability: Tensor
    distance: Tensor
    predicted: Tensor
    finite: Tensor
    probabilities: Tensor


def sample_outputs(logits: Tensor, y: Tensor) -> SampleOutputs:
    """Loss, margin, probability, distance and predicted class of each sample.

    Of logits z, p = softmax(z) and the given label y: the loss is -log p_y (in nats, at least 0); the margin is
    z_y - max_{k != y} z_k (the area under it is AUM, Pleiss et al. 2020), above 0 where y is predicted; the probability
    is p_y; the distance is ||p - e_y||_2 in [0, sqrt 2] (whose early mean is EL2N, Paul et al. 2021).

    Args:
        logits: (n, K), K at least 2; half precision is computed in float32.
        y: given labels (n,) int64.

    Returns:
        Tensors of the logits' device; no wait for it.

    Cost: a softmax; some ten passes over the logits.
    """
    logits = widened(logits)
    label = y[:, None]
    logs = torch.log_softmax(logits, dim=1)
    probabilities = logs.exp()
    given = logits.gather(1, label)
    others = logits.scatter(1, label, float("-inf"))
    probability = probabilities.gather(1, label)
    # -1 at the label, so that what is left of 1 - p_y is not lost in p_y
    distance = probabilities.scatter_add(1, label, torch.full_like(probability, -1.0)).norm(dim=1)
    return SampleOutputs(
        loss=(0.0 - logs.gather(1, label)).squeeze(1).clamp(0, LARGEST),
        margin=(given.squeeze(1) - others.amax(dim=1)).clamp(-LARGEST, LARGEST),
        probability=probability.squeeze(1),
        distance=distance,
        predicted=logits.argmax(dim=1),
        finite=torch.isfinite(logits).all(dim=1),
        probabilities=probabilities,
    )
