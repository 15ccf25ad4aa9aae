"""Directional derivatives of the logits with respect to the weights, for every sample at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from overfit_lab.errors import ProbeError
from overfit_lab.models.compute.duals import dual_logits
from overfit_lab.models.compute.folded import folded
from overfit_lab.models.compute.folding import FoldedModel, state_of

Tensors = dict[str, Tensor]


def check_direction(model: nn.Module, direction: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's parameters that a direction has entries for, by name.

    Raises:
        ProbeError: the direction names a parameter that the model lacks, or of another shape.
    """
    parameters = dict(model.named_parameters())
    for name, tensor in direction.items():
        if name not in parameters:
            raise ProbeError(f"parameter {name!r} is not in the model; is the reference from another architecture?")
        if parameters[name].shape != tensor.shape:
            raise ProbeError(
                f"parameter {name!r}: shape {tuple(tensor.shape)}, but {tuple(parameters[name].shape)} in the model"
            )
    return {name: parameters[name].detach() for name in direction}


def logit_derivatives(
    model: nn.Module, x: Tensor, direction: Mapping[str, Tensor], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits z (B, K) and J d (B, K), batch by batch: the derivative of the logits as the weights move along d.

    One forward-mode product gives J_i d for all samples of a batch together; no gradient of a sample is formed.
    Parameters that ``direction`` does not name stay; ``batch_size`` images (n, C, H, W) a pass bound the memory.

    Raises:
        ProbeError: the direction does not fit the model.

    Cost: arithmetic of about three forward passes.
    """
    primals = check_direction(model, direction)
    tangents = {name: direction[name].to(primals[name]) for name in primals}
    twin = folded(model, x) if not any(module.training for module in model.modules()) else None
    if twin is not None:
        _, moves = forward_product(partial(_moved_tensors, twin, state_of(model)), primals, tangents)
        moves = {name: _channels_last(move) for name, move in moves.items()}
    for part in x.split(batch_size):
        if twin is not None:
            yield dual_logits(twin, moves, part)
        else:
            z, moved = forward_product(partial(_logits_at, model, part), primals, tangents)
            yield z.detach(), moved.detach()


@torch.no_grad()
def forward_product(function: Callable[[Tensors], Any], primals: Tensors, tangents: Tensors) -> tuple[Any, Any]:
    """A function's values and their derivative as its tensors move along the tangents, by forward mode."""
    with warnings.catch_warnings():
        # torch itself uses what it deprecates, on the first forward-mode product of a process.
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
        return jvp(function, (primals,), (tangents,))  # type: ignore[return-value]


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _logits_at(model: nn.Module, x: Tensor, weights: Tensors) -> Tensor:
    return functional_call(model, weights, (x,))  # type: ignore[no-any-return]


def _moved_tensors(twin: FoldedModel, state: Tensors, weights: Tensors) -> Tensors:
    return twin.fold({**state, **weights}, moved=weights)
