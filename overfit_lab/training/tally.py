"""Running means of one epoch, kept on the device: nothing is read back before the epoch ends."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from overfit_lab.training.information import InformationTally
from overfit_lab.types import Value

HALF = (torch.float16, torch.bfloat16)


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
        self._norms.append(total_norm([p.grad for p in model.parameters() if p.grad is not None]))
        self._norm_sizes.append(n)

    def values(self) -> list[Value]:
        """``loss`` (mean over samples) and ``grad_norm_minibatch`` (mean over batches), with standard errors."""
        losses, norms = (torch.stack(s).cpu().double() if s else torch.zeros(0) for s in (self._losses, self._norms))
        return [*loss_value(losses, self._sizes), *norm_value(norms, sum(self._norm_sizes))]

    @property
    def losses(self) -> list[Tensor]:
        """The loss of each step, scalars on the device."""
        return self._losses

    @property
    def norms(self) -> list[Tensor]:
        """The norm of each step's gradient, scalars on the device."""
        return self._norms

    def state_dict(self) -> dict[str, Tensor]:
        """The readings of every step, as tensors of one dimension by name."""
        return {
            "losses": _stacked(self._losses),
            "norms": _stacked(self._norms),
            "sizes": torch.tensor(self._sizes, dtype=torch.int64),
            "norm_sizes": torch.tensor(self._norm_sizes, dtype=torch.int64),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._losses, self._norms = list(state["losses"].unbind()), list(state["norms"].unbind())
        self._sizes, self._norm_sizes = state["sizes"].tolist(), state["norm_sizes"].tolist()


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, a scalar on the device of the first; half precision in float32."""
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    if all(g.dtype not in HALF for g in dense):
        return torch.nn.utils.get_total_norm(dense)
    norms = [torch.linalg.vector_norm(g, dtype=torch.float32 if g.dtype in HALF else None) for g in dense]
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))


def loss_value(losses: Tensor, sizes: Sequence[int | None]) -> list[Value]:
    """``loss``, the mean over samples of the losses (steps,) float64 of batches of those sizes; none of no step.

    Where a size is not known, it is the mean over batches.
    """
    if not len(losses):
        return []
    known = [n for n in sizes if n is not None]
    n = sum(known) if len(known) == len(sizes) else None
    weights = torch.tensor(known if n is not None else [1] * len(losses), dtype=torch.float64)
    mean = ((losses * weights).sum() / weights.sum()).item()
    return [Value("loss", mean, "train", n=n, labels="targets")]


def norm_value(norms: Tensor, n: int | None, field: str = "grad_norm_minibatch") -> list[Value]:
    """The mean of norms (steps,) float64 with its standard error; none of no step."""
    steps = len(norms)
    if not steps:
        return []
    stderr = norms.std().item() / math.sqrt(steps) if steps > 1 else None
    return [Value(field, norms.mean().item(), "train", n=n, labels="targets", stderr=stderr)]


def _stacked(scalars: list[Tensor]) -> Tensor:
    return torch.stack(scalars) if scalars else torch.zeros(0)


class EpochTallies:
    """What an epoch comes to, step by step; a checkpoint within the epoch keeps it.

    Args:
        reference: theta_0 of :class:`overfit_lab.training.information.InformationTally`.
    """

    def __init__(self, device: torch.device, reference: Mapping[str, Tensor]) -> None:
        self.steps = Tally(device)
        self.information = InformationTally(reference)
        self._device = device
        self._lr = 0.0
        self._before = 0.0
        self._began = time.perf_counter()

    def add(self, loss: Tensor, model: nn.Module, n: int, lr: float) -> None:
        """Take in one step, after its backward pass and before the optimiser's step.

        Args:
            loss: scalar on the device.
            model: its parameters hold the mini-batch gradient.
            n: samples in the batch.
            lr: learning rate of the step.
        """
        self.steps.add(loss, model, n)
        self.information.add(model, n)
        self._lr = lr

    def seconds(self) -> float:
        """Time since the epoch began, without that of an interruption."""
        return self._before + time.perf_counter() - self._began

    def values(self, n_train: int) -> list[Value]:
        """The numbers of the epoch; ``n_train`` is the size of the training split."""
        measured = [*self.steps.values(), *self.information.values(n_train)]
        return [*measured, Value("lr", self._lr), Value("seconds_training", self.seconds())]

    def state_dict(self) -> dict[str, Tensor]:
        """All of it as tensors of one dimension by name."""
        clocks = torch.tensor([self._lr, self.seconds()], dtype=torch.float64)
        return {"clocks": clocks, **self.steps.state_dict(), **self.information.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._lr, self._before = state["clocks"].tolist()
        self._began = time.perf_counter()
        moved = {name: tensor.to(self._device) for name, tensor in state.items()}
        self.steps.load_state_dict(moved)
        self.information.load_state_dict(moved)
