"""Batch norm over the batch of all processes, for any model, without a change to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from overfit_lab.distributed.exchange import exchanging

SIGNATURE = inspect.signature(functional.batch_norm)


class SynchronisedNorms(TorchFunctionMode):
    """Inside, batch norm that uses a batch's own statistics uses those of the batches of all processes together.

    It stands where every model's batch norm goes through, :func:`torch.nn.functional.batch_norm`, so that modules stay
    of their own types, on the CPU as well (:class:`torch.nn.SyncBatchNorm` is for accelerators alone). Every process
    has to make the same forward and backward passes inside.

    Cost: two exchanges of a number or two a channel in each layer's forward pass, and two in its backward pass.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Batch norm in train mode is ours; everything else is torch's."""
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            bound = SIGNATURE.bind(*args, **kwargs)
            bound.apply_defaults()
            if bound.arguments["training"]:
                return synchronised(**{k: v for k, v in bound.arguments.items() if k != "training"})
        return func(*args, **kwargs)


def synchronised(
    input: Tensor,  # noqa: A002 (torch's name)
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch norm with the mean and variance of all processes' inputs; the arguments are those of torch's function.

    The variance is that of the differences from the common mean, so that nothing cancels.
    """
    channels = (1, -1, *([1] * (input.dim() - 2)))
    over = [0, *range(2, input.dim())]
    x = input if input.dtype == torch.float64 else input.float()
    count = x.new_full((1,), input.numel() / input.shape[1])
    sums = _Sum.apply(torch.cat([x.sum(dim=over), count]))
    mean, n = sums[:-1] / sums[-1].detach(), sums[-1].detach()
    centred = x - mean.view(channels)
    variance = _Sum.apply(centred.square().sum(dim=over)) / n
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.detach().to(running_mean), momentum)
            running_var.lerp_((variance.detach() * n / (n - 1)).to(running_var), momentum)
    out = centred * (variance + eps).rsqrt().view(channels)
    if weight is not None:
        out = out * weight.view(channels)
    if bias is not None:
        out = out + bias.view(channels)
    return out.to(input.dtype)


class _Sum(torch.autograd.Function):
    """The sum over processes; what each process's loss asks of it comes together on the way back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        """The sum."""
        total = values.clone()
        with exchanging():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        """The sum of what the processes ask for."""
        total = gradients[0].contiguous().clone()
        with exchanging():
            dist.all_reduce(total)
        return total
