"""Gaps between the labelled class's logit and the others, and their gradients by the image."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from overfit_lab.methods.attacks.gradient import input_gradient
from overfit_lab.methods.threat import Norm, ThreatModel, brought_to_one
from overfit_lab.models.isolation import frozen


@dataclass(frozen=True)
class LogitGeometry:
    """One number a sample, each (n,) float64, and a direction. The runner-up j has the largest logit other than z_y.

    Args:
        logit_gap: z_y - z_j; negative where the prediction is wrong.
        gradient_gap: || grad_x z_y - grad_x z_j || in the norm dual to the threat's: l_1 for l_inf, l_2 for l_2.
        cosine: cosine between grad_x z_y and grad_x z_j, of the runner-up alone; 0 where either is zero.
        predicted: radius at which the linearised model errs, the minimum over all j != y of
            (z_y - z_j) / || grad_x (z_y - z_j) ||; 0 where the answer is wrong, infinite where no gradient leads to an
            error.
        direction: the unit perturbation along which the linearised model errs at that radius (n, C, H, W).
    """

    logit_gap: Tensor
    gradient_gap: Tensor
    cosine: Tensor
    predicted: Tensor
    direction: Tensor


def logit_geometry(
    model: nn.Module, x: Tensor, y: Tensor, *, norm: Norm = "linf", batch_size: int = 256
) -> LogitGeometry:
    """Gaps of logits and of their gradients by the image, and the minimal perturbation that they predict.

    The prediction is exact for a model that is affine in the image and for images whose nearest error lies within the
    pixel bounds; it ignores those bounds, and is no bound for other models, neither from below nor from above.

    Source: Shafahi et al. 2019 (arXiv 1910.11585), section 3, whose runner-up is replaced by the minimum over all
    classes; the linearisation is that of DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599).
    Images are (n, C, H, W); perturbations are measured in ``norm``, in [0, 1] pixels. Memory is that of one pass of
    ``batch_size`` images and a few copies of the images, for any K.

    Cost: for each batch one forward pass and K backward passes to the image that share it.
    """
    with frozen(model):
        parts = [
            _of_batch(model, images, labels, norm)
            for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True)
        ]
    names = [field.name for field in fields(LogitGeometry)]
    return LogitGeometry(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def _of_batch(model: nn.Module, x: Tensor, y: Tensor, norm: Norm) -> LogitGeometry:
    x = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = model(x)
        of_label = logits.gather(1, y[:, None]).squeeze(1)
        others = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :-1]
        gaps = of_label[:, None] - logits.gather(1, others)
    label_gradient = input_gradient(of_label.sum(), x, retain_graph=True).flatten(1).double()
    predicted = torch.full_like(label_gradient[:, 0], torch.inf)
    nearest = torch.zeros_like(x)
    for rank in range(gaps.shape[1]):
        slope = input_gradient(gaps[:, rank].sum(), x, retain_graph=rank < gaps.shape[1] - 1)
        flat = slope.flatten(1).double()
        size = flat.norm(p=1 if norm == "linf" else 2, dim=1)
        if rank == 0:
            gradient_gap = size
            # Brought to one: of a length below 1e-8 torch makes 1e-8.
            of_others = brought_to_one(label_gradient - flat)
            cosine = torch.cosine_similarity(brought_to_one(label_gradient), of_others, dim=1)
        radius = gaps[:, rank].detach().double() / size
        nearest = (-slope).where((radius < predicted).view(-1, *([1] * (x.dim() - 1))), nearest)
        predicted = radius.minimum(predicted)
    gap = gaps[:, 0].detach().double()
    predicted = predicted.where(gap > 0, torch.zeros_like(gap))
    defined = logits.detach().isfinite().all(dim=1)
    nan = torch.full_like(gap, torch.nan)
    return LogitGeometry(
        logit_gap=gap.where(defined, nan),
        gradient_gap=gradient_gap.where(defined, nan),
        cosine=cosine.where(defined, nan),
        predicted=predicted.where(defined, nan),
        direction=ThreatModel(norm).steepest(nearest),
    )
