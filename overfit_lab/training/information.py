"""The information in the weights as the training steps' own gradients show it, free of any further pass."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from overfit_lab.types import Value


class InformationTally:
    """Collects d^T g of each step, d = theta - theta_0 and g the mini-batch gradient that the step has anyway.

    n times the mean of (d^T g)^2 over an epoch's batches is what the public code of PIB (Wang et al. 2022) computes,
    with two differences: g is the gradient of the training loss (on augmented, attacked images, to the label mode's
    targets, with regularizers), and the weights move from batch to batch. Never compare it with the readings of the
    probe ``iiw``, whose ``pib-reference`` is of the given labels at the epoch's last weights in eval mode. As that one
    it shrinks with the batch size, and is no estimate of d^T F d.

    Args:
        reference: theta_0, by parameter name; parameters that it lacks are passed over.

    Cost: two passes over the parameters and a copy of them a step; one synchronisation with the device an epoch.
    """

    def __init__(self, reference: Mapping[str, Tensor]) -> None:
        self._reference = reference
        self._slopes: list[Tensor] = []
        self._n = 0

    @torch.no_grad()
    def add(self, model: nn.Module, n: int) -> None:
        """Take in one step, after its backward pass and before the optimiser's step.

        Args:
            model: its parameters hold the mini-batch gradient.
            n: samples in the batch.
        """
        slope = slope_of(dict(model.named_parameters()), self._reference)
        if slope is not None:
            self._slopes.append(slope)
            self._n += n

    def state_dict(self) -> dict[str, Tensor]:
        """The slope of every step, and the samples they were taken on."""
        slopes = torch.stack(self._slopes) if self._slopes else torch.zeros(0)
        return {"slopes": slopes, "slope_samples": torch.tensor([self._n])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._slopes, self._n = list(state["slopes"].unbind()), int(state["slope_samples"])

    def values(self, n_train: int) -> list[Value]:
        """``iiw_pib_minibatch`` and ``slope_minibatch``, means over batches with standard errors; the tally stays.

        The slope is the mean of d^T g itself: positive where a step downhill leads back towards theta_0.

        Args:
            n_train: n, size of the training split, the prefactor of the first.

        Returns:
            Two values, in nats and in nats a sample; none where no step was taken in.
        """
        slopes = torch.stack(self._slopes).cpu().double() if self._slopes else torch.zeros(0)
        return slope_values(slopes, self._n, n_train)


@torch.no_grad()
def slope_of(parameters: Mapping[str, nn.Parameter], reference: Mapping[str, Tensor]) -> Tensor | None:
    """d^T g over some parameters by name, a scalar on the device; None where none of them has a gradient.

    In float32, in float64 where weights are; of complex ones real and imaginary parts count as two.
    """
    trained = [
        (_real(p.detach()), _real(reference[name]), _real(p.grad.to_dense()))
        for name, p in parameters.items()
        if p.grad is not None and name in reference
    ]
    if not trained:
        return None
    weights, initial, gradients = (list(part) for part in zip(*trained, strict=True))
    if all(p.dtype in (torch.float32, torch.float64) for p in weights):
        products = torch._foreach_sub(weights, initial)
        torch._foreach_mul_(products, gradients)
        sums = [product.sum(dtype=product.dtype) for product in products]
    else:  # one at a time: three copies of half-precision weights would be larger than the weights
        sums = [((p.float() - q.float()) * g.float()).sum() for p, q, g in trained]
    return torch.stack([part.to(sums[0].device) for part in sums]).sum()


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def slope_values(slopes: Tensor, n: int | None, n_train: int) -> list[Value]:
    """The values of :meth:`InformationTally.values` from d^T g of each step (steps,) float64."""
    if not len(slopes):
        return []
    numbers = {"iiw_pib_minibatch": n_train * slopes.square(), "slope_minibatch": slopes}
    return [
        Value(
            field,
            terms.mean().item(),
            "train",
            n=n,
            labels="targets",
            stderr=terms.std().item() / math.sqrt(len(terms)) if len(terms) > 1 else None,
        )
        for field, terms in numbers.items()
    ]
