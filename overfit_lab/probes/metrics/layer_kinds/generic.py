"""Any other module, and any model: per-sample gradients by automatic differentiation, a few samples at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from overfit_lab.probes.metrics.directional import forward_product
from overfit_lab.probes.metrics.layer_kinds.base import CallCache, LayerKind
from overfit_lab.probes.metrics.local import LayerCall
from overfit_lab.probes.metrics.pieces import gradients_at_once


class GenericKind(LayerKind):
    """Forms each sample's gradient of the module's own parameters; exact and slower than a formula."""

    def directional(self, call: LayerCall, delta: Tensor, direction: Mapping[str, Tensor]) -> Tensor:
        """By one forward-mode product, or from per-sample gradients where the module has none."""
        primals = {local: _parameter(call.module, local).detach() for local in direction}

        def run(weights: dict[str, Tensor]) -> Tensor:
            return functional_call(call.module, weights, (call.input,), tie_weights=False)  # type: ignore[no-any-return]

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
    module: nn.Module, names: Sequence[str], a: Tensor, delta: Tensor, *, tied: bool = False
) -> Iterator[dict[str, Tensor]]:
    """grad_w <delta_i, f(a_i; w)> of up to 16 samples at a time, {name: (b, ...)}.

    Vectorised over the samples where the module allows it, sample by sample elsewhere.
    With ``tied`` a parameter that the module holds under several names is differentiated under all of them.
    """
    weights = {name: _parameter(module, name).detach() for name in names}

    def value(weights: dict[str, Tensor], a: Tensor, delta: Tensor) -> Tensor:
        out = functional_call(module, weights, (a.unsqueeze(0),), tie_weights=tied)
        return (out.squeeze(0) * delta).sum()  # type: ignore[no-any-return]

    together = vmap(grad(value), in_dims=(None, 0, 0))
    vectorised = True
    piece = gradients_at_once(a.device)
    for part, d in zip(a.split(piece), delta.split(piece), strict=True):
        if vectorised:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="There is a performance drop")
                    gradients = together(weights, part, d)
                yield gradients
                continue
            except RuntimeError:
                vectorised = False
        rows = [_gradient(module, weights, part[i : i + 1], d[i : i + 1], tied) for i in range(len(part))]
        yield {name: torch.stack([row[name] for row in rows]) for name in names}


def _gradient(
    module: nn.Module, weights: Mapping[str, Tensor], a: Tensor, delta: Tensor, tied: bool
) -> dict[str, Tensor]:
    leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
    with torch.enable_grad():
        value = (functional_call(module, leaves, (a,), tie_weights=tied) * delta).sum()
    if not value.requires_grad:
        return {name: torch.zeros_like(w) for name, w in weights.items()}
    gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    return {name: value.detach() for name, value in zip(leaves, gradients, strict=True)}


def _rows(values: Tensor) -> Tensor:
    """(B, ...) as a matrix, also where a sample has one number."""
    return values.reshape(len(values), -1)


def _parameter(module: nn.Module, name: str) -> Tensor:
    owner, _, local = name.rpartition(".")
    return module.get_submodule(owner).get_parameter(local)
