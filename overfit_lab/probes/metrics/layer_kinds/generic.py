"""Any other module, and any model: per-sample gradients by automatic differentiation, a few samples at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from overfit_lab.models.compute.derivatives import forward_product, gradients_of
from overfit_lab.models.holdings import with_weights
from overfit_lab.models.isolation import requiring
from overfit_lab.probes.metrics.layer_kinds.base import CallCache, LayerKind
from overfit_lab.probes.metrics.local import LayerCall
from overfit_lab.probes.metrics.pieces import gradients_at_once


class GenericKind(LayerKind):
    """Forms each sample's gradient of the module's own parameters; exact and slower than a formula."""

    def directional(self, call: LayerCall, delta: Tensor, direction: Mapping[str, Tensor]) -> Tensor:
        """By one forward-mode product, or from per-sample gradients where the module has none."""
        primals = {local: _parameter(call.module, local).detach() for local in direction}

        def run(weights: dict[str, Tensor]) -> Tensor:
            return with_weights(call.module, weights, lambda: call.module(call.input))  # type: ignore[no-any-return]

        try:
            _, moved = forward_product(run, primals, {n: direction[n].to(primals[n]) for n in primals})
        except (RuntimeError, NotImplementedError):
            pieces = per_sample_gradients(call.module, tuple(primals), call.input, delta)
            return torch.cat([sum(_rows(g[n] * direction[n]).sum(1) for n in g) for g in pieces])  # type: ignore[misc]
        return (delta * moved).flatten(1).sum(dim=1)

    def squared_norm(self, call: LayerCall, delta: Tensor, cache: CallCache) -> dict[str, Tensor]:
        """From per-sample gradients, a few samples at a time."""
        pieces = list(per_sample_gradients(call.module, tuple(call.parameters), call.input, delta))
        return {name: torch.cat([_rows(g[name]).square().sum(dim=1) for g in pieces]) for name in call.parameters}


def per_sample_gradients(
    module: nn.Module, names: Sequence[str], a: Tensor, delta: Tensor, *, together: bool = True
) -> Iterator[dict[str, Tensor]]:
    """grad_w <delta_i, f(a_i; w)> of up to 16 samples at a time, {name: (b, ...)}.

    Vectorised over the samples where the module allows it, and else, or without ``together``, sample by sample by the
    module's own backward pass. A parameter that the module holds at several places is differentiated at all of them.
    """
    weights = {name: _parameter(module, name).detach() for name in names}

    def value(weights: dict[str, Tensor], a: Tensor, delta: Tensor) -> Tensor:
        out = with_weights(module, weights, lambda: module(a.unsqueeze(0)))
        return (out.squeeze(0) * delta).sum()  # type: ignore[no-any-return]

    vectorised = vmap(grad(value), in_dims=(None, 0, 0))
    piece = gradients_at_once(a.device)
    for part, d in zip(a.split(piece), delta.split(piece), strict=True):
        if together:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="There is a performance drop")
                    gradients = vectorised(weights, part, d)
                yield gradients
                continue
            except RuntimeError:
                together = False
        rows = [_gradient(module, names, part[i : i + 1], d[i : i + 1]) for i in range(len(part))]
        yield {name: torch.stack([row[name] for row in rows]) for name in names}


def _gradient(module: nn.Module, names: Sequence[str], a: Tensor, delta: Tensor) -> dict[str, Tensor]:
    weights = [_parameter(module, name) for name in names]
    with requiring(weights), torch.enable_grad():
        value = (module(a) * delta).sum()
        return dict(zip(names, gradients_of(value, weights), strict=True))


def _rows(values: Tensor) -> Tensor:
    """(B, ...) as a matrix, also where a sample has one number."""
    return values.reshape(len(values), -1)


def _parameter(module: nn.Module, name: str) -> Tensor:
    owner, _, local = name.rpartition(".")
    return module.get_submodule(owner).get_parameter(local)
