"""Running means of one epoch, kept on the device: nothing is read back before the epoch ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from overfit_lab.types import Value


class Tally:
    """Collects the loss and the mini-batch gradient norm of each step.

    Cost: one norm over the parameters a step; one synchronisation with the device an epoch.
    """

    def __init__(self, device: torch.device) -> None:
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._sizes: list[int] = []
        self._device = device

    def add(self, loss: Tensor, model: nn.Module, n: int) -> None:
        """Take in one step, after its backward pass and before the optimiser's step.

        Args:
            loss: scalar on the device.
            model: its parameters hold the mini-batch gradient.
            n: samples in the batch.
        """
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        self._losses.append(loss)
        self._norms.append(torch.nn.utils.get_total_norm(gradients))
        self._sizes.append(n)

    def values(self) -> list[Value]:
        """``loss`` (mean over samples) and ``grad_norm_minibatch`` (mean over batches), with standard errors."""
        if not self._losses:
            return []
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        losses = torch.stack(self._losses).double().cpu()
        norms = torch.stack(self._norms).double().cpu()
        n, steps = int(sizes.sum()), len(norms)
        stderr = norms.std().item() / math.sqrt(steps) if steps > 1 else None
        return [
            Value("loss", ((losses * sizes).sum() / sizes.sum()).item(), "train", n=n, labels="targets"),
            Value("grad_norm_minibatch", norms.mean().item(), "train", n=n, labels="targets", stderr=stderr),
        ]
