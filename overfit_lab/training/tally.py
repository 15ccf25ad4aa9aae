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
        self._sizes: list[int] = []
        self._norms: list[Tensor] = []
        self._norm_sizes: list[int] = []
        self._device = device

    def add(self, loss: Tensor, model: nn.Module, n: int) -> None:
        """Take in one step, after its backward pass and before the optimiser's step.

        Args:
            loss: scalar on the device.
            model: its parameters hold the mini-batch gradient.
            n: samples in the batch.
        """
        self.add_loss(loss, n)
        self.add_norm(model, n)

    def add_loss(self, loss: Tensor, n: int) -> None:
        """Take in a mean loss over n samples, a scalar on the device."""
        self._losses.append(loss)
        self._sizes.append(n)

    def add_norm(self, model: nn.Module, n: int) -> None:
        """Take in the norm of the gradient over n samples that the model's parameters hold."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        self._norms.append(torch.nn.utils.get_total_norm(gradients))
        self._norm_sizes.append(n)

    def values(self) -> list[Value]:
        """``loss`` (mean over samples) and ``grad_norm_minibatch`` (mean over batches), with standard errors."""
        return [*self._loss(), *self._norm()]

    def _loss(self) -> list[Value]:
        if not self._losses:
            return []
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        losses = torch.stack(self._losses).double().cpu()
        mean = ((losses * sizes).sum() / sizes.sum()).item()
        return [Value("loss", mean, "train", n=int(sizes.sum()), labels="targets")]

    def _norm(self) -> list[Value]:
        if not self._norms:
            return []
        norms = torch.stack(self._norms).double().cpu()
        n, steps = sum(self._norm_sizes), len(norms)
        stderr = norms.std().item() / math.sqrt(steps) if steps > 1 else None
        return [Value("grad_norm_minibatch", norms.mean().item(), "train", n=n, labels="targets", stderr=stderr)]
