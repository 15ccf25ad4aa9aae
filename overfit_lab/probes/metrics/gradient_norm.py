"""Norms of the loss gradient with respect to the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.probes.metrics.layers import group_by_layer, trainable_by_name
from overfit_lab.probes.metrics.per_sample_norms import PerSampleNorms, per_sample_norms
from overfit_lab.types import widened


@dataclass(frozen=True)
class GradientNorm:
    """Readings of the gradient of the mean cross entropy over a set.

    Args:
        full: Euclidean norm of the gradient of the mean loss over the whole set. The norm of a mean over a sample is
            larger than that over the population, more so for a small set.
        full_stderr: standard error of ``full`` to first order: that of the mean of u . g_i along u = g / ||g||.
        minibatch: mean over consecutive batches of the norm of the batch's mean gradient; larger than ``full``, since
            the noise of a batch adds to the norm.
        minibatch_stderr: standard error over batches; None for a single batch.
        layers: norm of the part of the full gradient in each layer.
        samples: norms of each sample's gradient.
    """

    full: float
    full_stderr: float | None
    minibatch: float
    minibatch_stderr: float | None
    layers: dict[str, float]
    samples: PerSampleNorms


def gradient_norm(model: nn.Module, x: Tensor, targets: Tensor, batch_size: int) -> GradientNorm:
    """|| grad_theta (1/n) sum_i CE(z(x_i), t_i) ||_2 over all trainable parameters, and by layer, batch and sample.

    Source: SGLR (Yu et al. 2024), Fig. 1a, which plots the norm over training without fixing the set.
    Images are (n, C, H, W), targets (n, K) distributions; a smaller last mini-batch counts as much as the rest.

    Raises:
        ProbeError: the model has no trainable parameter, or batch norm that uses the batch's own statistics.

    Cost: a forward and a backward pass over x, and :func:`~.per_sample_norms.per_sample_norms`, which
    gives the standard error too.
    """
    names, parameters = zip(*trainable_by_name(model).items(), strict=True)
    sums = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
    norms = []
    for part, t in zip(x.split(batch_size), targets.split(batch_size), strict=True):
        with torch.enable_grad():
            loss = -(t * functional.log_softmax(widened(model(part)), dim=1)).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        present = [g for g in gradients if g is not None]
        norms.append(torch.nn.utils.get_total_norm([g.double() for g in present]) / len(part))
        for total, gradient in zip(sums, gradients, strict=True):
            if gradient is not None:
                total += gradient
    mean = {name: total / len(x) for name, total in zip(names, sums, strict=True)}
    full = _norm(mean, names)
    batches = torch.stack(norms)
    unit = {name: (g / full).float() for name, g in mean.items()} if full != 0 and len(x) > 1 else None
    samples = per_sample_norms(model, x, targets, along=unit)
    slopes = samples.slopes
    return GradientNorm(
        full=full,
        full_stderr=slopes.std().item() / math.sqrt(len(x)) if slopes is not None else None,
        minibatch=batches.mean().item(),
        minibatch_stderr=batches.std().item() / math.sqrt(len(batches)) if len(batches) > 1 else None,
        layers={layer: _norm(mean, members) for layer, members in group_by_layer(names).items()},
        samples=samples,
    )


def _norm(gradient: dict[str, Tensor], names: tuple[str, ...] | list[str]) -> float:
    return math.sqrt(sum(gradient[name].square().sum().item() for name in names))
