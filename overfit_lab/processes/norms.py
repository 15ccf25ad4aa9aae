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

from overfit_lab.processes.exchange import exchanging

SIGNATURE = inspect.signature(functional.batch_norm)


class SynchronisedNorms(TorchFunctionMode):
    """Inside, batch norm that uses a batch's own statistics uses those of the batches of all processes together.

    It stands where every model's batch norm goes through, :func:`torch.nn.functional.batch_norm`, so that modules stay
    of their own types, on the CPU as well (:class:`torch.nn.SyncBatchNorm` is for accelerators alone). Every process
    has to make the same forward and backward passes inside.

    Cost: an exchange of two numbers a channel in each layer's forward pass, and one in its backward pass.
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
    """Batch norm with the mean and variance of all processes' inputs; the arguments are those of torch's function."""
    with torch.no_grad():
        mean, variance, n = statistics(input, eps)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * n / (n - 1)).to(running_var), momentum)
    normalised: Tensor = _Normalised.apply(input, weight, bias, mean, variance, n, eps)
    return normalised


def statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (C,) of all processes' values in each channel, and how many values there are.

    Each process's own are torch's fused ones, and are brought together without a difference of large numbers (Chan,
    Golub, LeVeque 1983).
    """
    ones = torch.ones(x.shape[1], device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))
    _, mean, scale = torch.native_batch_norm(x, ones, torch.zeros_like(ones), None, None, True, 0.0, eps)
    variance = (scale.square().reciprocal() - eps).clamp_min(0)
    count = mean.new_full((1,), x.numel() / x.shape[1])
    local = torch.cat([count, mean, variance])
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    with exchanging():
        dist.all_gather(parts, local)
    counts, means, variances = torch.stack(parts).split([1, len(mean), len(mean)], dim=1)
    n = counts.sum()
    mean = (counts * means).sum(dim=0) / n
    return mean, (counts * (variances + (means - mean).square())).sum(dim=0) / n, n


class _Normalised(torch.autograd.Function):
    """The values less their mean, over their standard deviation; the statistics are functions of all the values."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        n: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, n)
        ctx.eps, ctx.has_bias = eps, bias is not None
        return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient for fixed statistics (fused), less its part through mean and variance, linear in x."""
        x, weight, mean, variance, n = ctx.saved_tensors
        factor = weight if weight is not None else torch.ones_like(mean)
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, factor, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        total = torch.cat([of_bias, of_weight])
        with exchanging():
            dist.all_reduce(total)
        first, second = (total / n).chunk(2)
        scale = (variance + ctx.eps).rsqrt()
        slope = -factor * scale * scale * second
        level = factor * scale * (mean * scale * second - first)
        channels = (1, -1, *([1] * (x.dim() - 2)))
        of_x = torch.addcmul(of_x, x, slope.view(channels).to(x.dtype)).add_(level.view(channels).to(x.dtype))
        return of_x, of_weight if weight is not None else None, of_bias if ctx.has_bias else None, *[None] * 4
