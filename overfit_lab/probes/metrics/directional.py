"""Directional derivatives of the logits with respect to the weights, for every sample at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from torch import Tensor, nn

from overfit_lab.errors import ProbeError
from overfit_lab.models.compute.agreement import is_samplewise
from overfit_lab.models.compute.derivatives import TRIED_EVERY, WAYS, Moved, fastest_way
from overfit_lab.models.compute.verdicts import Verdicts

_samplewise: Verdicts[bool | None] = Verdicts(TRIED_EVERY)


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


def refuse_mixing(model: nn.Module, x: Tensor) -> None:
    """Refuse a model in which a sample's logits depend on the other samples of its batch.

    Args:
        x: images (B, C, H, W); the first and its negative are tried together and apart.

    Raises:
        ProbeError: batch norm in train mode or without running statistics, or logits that change with the batch.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise ProbeError(
                f"batch norm {name!r} uses the batch's own statistics, so that no sample has a gradient of its own; "
                "it needs eval mode and running statistics"
            )
    if _samplewise.of(model, (x.shape[1:], x.dtype, x.device), partial(is_samplewise, model, x)) is False:
        raise ProbeError("a sample's logits depend on the others of its batch, so that none has a gradient of its own")


def logit_motion(
    model: nn.Module, x: Tensor, direction: Mapping[str, Tensor], *, via: str | None = None
) -> tuple[str, Moved]:
    """The way that gives J d for images such as x, by name, and the function that goes it.

    Args:
        via: a way that was found before; None: that of :func:`overfit_lab.models.compute.derivatives.fastest_way`.

    Raises:
        ProbeError: the direction does not fit the model, or samples depend on each other.
    """
    primals = check_direction(model, direction)
    refuse_mixing(model, x)
    tangents = {name: direction[name].to(primals[name]) for name in primals}
    via = fastest_way(model, tangents, x) if via is None else via
    return via, WAYS[via](model, tangents, x)


def logit_derivatives(
    model: nn.Module, x: Tensor, direction: Mapping[str, Tensor], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits z (B, K) and J d (B, K), batch by batch: the derivative of the logits as the weights move along d.

    One forward-mode product gives J_i d for all samples of a batch together; no gradient of a sample is formed.
    Parameters that ``direction`` does not name stay; ``batch_size`` images (n, C, H, W) a pass bound the memory.

    Raises:
        ProbeError: the direction does not fit the model, or samples depend on each other.

    Cost: arithmetic of about three forward passes.
    """
    _, moved = logit_motion(model, x, direction)
    for part in x.split(batch_size):
        yield moved(part)
