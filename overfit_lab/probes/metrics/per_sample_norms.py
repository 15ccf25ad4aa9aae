"""Norms of each sample's gradient with respect to the weights; no sample's gradient is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from overfit_lab.models.compute.agreement import PRODUCTS_WITHIN, same_products
from overfit_lab.models.compute.derivatives import TRIED_EVERY, random_direction
from overfit_lab.models.compute.verdicts import Verdicts
from overfit_lab.probes.metrics.directional import refuse_mixing
from overfit_lab.probes.metrics.layer_kinds.base import CallCache
from overfit_lab.probes.metrics.layer_kinds.generic import per_sample_gradients
from overfit_lab.probes.metrics.layer_kinds.select import kind_of
from overfit_lab.probes.metrics.layers import group_by_layer, trainable_by_name
from overfit_lab.probes.metrics.local import LayerCall, LocalPass, local_pass
from overfit_lab.probes.metrics.pieces import samples_at_once
from overfit_lab.types import widened

Directions = Callable[[Tensor, slice], Tensor]
"""Takes logits (b, K) and which samples they are of; gives M directions in the logits for each (M, b, K)."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class PerSampleNorms:
    """Norms of the samples' gradients.

    Args:
        norms: ||grad_theta l_i|| of each sample (n,) float64, in the order given.
        layers: layer to the norms of its part (n,), where they were asked for; their squares add up to
            those of ``norms``.
        slopes: <grad_theta l_i, d> of each sample (n,) float64 along the direction that was given, if any.
        via: the way to the gradients, see :func:`gradient_way`.
    """

    norms: Tensor
    layers: dict[str, Tensor]
    slopes: Tensor | None = None
    via: str = ""

    @property
    def mean(self) -> float:
        """Mean over samples; at least the norm of the mean gradient."""
        return self.norms.mean().item()

    @property
    def stderr(self) -> float | None:
        """Standard error of the mean over samples; None for one sample."""
        return self.norms.std().item() / math.sqrt(len(self.norms)) if len(self.norms) > 1 else None

    def quantiles(self, shares: Iterable[float] = QUANTILES) -> dict[float, float]:
        """Share to the norm that this share of the samples does not exceed, interpolated; NaN where any norm is."""
        points = torch.tensor(list(shares), dtype=self.norms.dtype, device=self.norms.device)
        if not torch.isfinite(self.norms).all():
            return dict.fromkeys(points.tolist(), math.nan)
        return dict(zip(points.tolist(), torch.quantile(self.norms, points).tolist(), strict=True))


def per_sample_norms(
    model: nn.Module,
    x: Tensor,
    targets: Tensor,
    *,
    layers: bool = False,
    layer_depth: int | None = None,
    along: Mapping[str, Tensor] | None = None,
) -> PerSampleNorms:
    """||grad_theta CE(z(x_i), t_i)|| of each sample, over all trainable parameters and by layer; exact.

    Source: Goodfellow 2015 (arXiv 1510.01799) for linear layers; each layer by the cheaper of its formulas
    (:mod:`overfit_lab.probes.metrics.layer_kinds`). The mean of the norms is not the norm of the mean.
    Images are (n, C, H, W), in eval mode, targets (n, K) distributions; ``along`` is a direction d in the parameters,
    by name, that gives ``slopes``; ``layer_depth`` parts of a module's path make a layer, None for the whole path.

    Raises:
        ProbeError: no trainable parameter, or batch norm that uses the batch's own statistics.

    Cost: one forward and one backward pass to the layers' outputs, at most the arithmetic of a forward pass for
    the norms, and of another one for slopes. Parameters that no layer's formula covers take per-sample gradients, 16
    samples at a time. Memory of a few samples, and the norms.
    """
    squares: list[Tensor] = []
    apart: dict[str, list[Tensor]] = {}

    def residual(logits: Tensor, part: slice) -> Tensor:
        return (torch.softmax(logits.double(), dim=1) - targets[part].double()).unsqueeze(0)

    slopes: list[Tensor] = []
    via = gradient_way(model, x)
    for piece in squared_gradients(model, x, residual, along, slopes, via=via):
        squares.append(sum_of(piece, piece))
        for layer, names in group_by_layer(piece, layer_depth).items() if layers else ():
            apart.setdefault(layer, []).append(sum_of(piece, names))
    return PerSampleNorms(
        norms=torch.cat(squares).sqrt(),
        layers={layer: torch.cat(pieces).sqrt() for layer, pieces in apart.items()},
        slopes=torch.cat(slopes) if slopes else None,
        via=via,
    )


def sum_of(values: Mapping[str, Tensor], names: Iterable[str]) -> Tensor:
    """Sum of some entries."""
    return torch.stack([values[name] for name in names]).sum(dim=0)


def squared_gradients(
    model: nn.Module,
    x: Tensor,
    directions: Directions,
    along: Mapping[str, Tensor] | None = None,
    slopes: list[Tensor] | None = None,
    *,
    via: str | None = None,
) -> Iterator[dict[str, Tensor]]:
    """sum_m || grad_w <s_im, z_i> ||^2 of each sample, by parameter, {name: (b,) float64}, a few samples at a time.

    ``directions`` gives the s_im. ``slopes`` takes sum_m <grad_w <s_im, z_i>, d> of the same samples, (b,) float64,
    where there is a direction d, ``along``, by name. ``via`` is the way, by default :func:`gradient_way`'s.

    Cost: one forward pass and M backward passes to the layers' outputs.
    """
    order = list(trainable_by_name(model))
    via = gradient_way(model, x) if via is None else via
    size = samples_at_once(x.device)
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        with torch.no_grad():
            squares, moved = _squares(model, x[part], directions, part, order, along or {}, via)
            if slopes is not None and along is not None:
                slopes.append(moved)
            yield squares


class _Sums(NamedTuple):
    """Squares of each sample by parameter, a direction by parameter, and each sample's slope along it."""

    squares: dict[str, Tensor]
    along: Mapping[str, Tensor]
    slopes: Tensor


def gradient_way(model: nn.Module, x: Tensor) -> str:
    """How the gradients of single samples are to be had: ``layers``, by the layers' formulas from one backward pass; or
    ``per-sample``, by a backward pass of the plain network for each sample.

    The formulas are used only after norms and slopes of two images, for random functions of the logits, were found to
    be those of the plain network; again when its form has changed, and at every 16th call.

    Raises:
        ProbeError: no trainable parameter, or samples depend on each other.

    Cost: the first time some ten passes of two images; then nothing.
    """
    refuse_mixing(model, x)
    order = tuple(trainable_by_name(model))
    return _ways.of(model, (order, x.shape[1:], x.dtype, x.device), partial(_way, model, x, list(order)))


_ways: Verdicts[str] = Verdicts(TRIED_EVERY)


def _way(model: nn.Module, x: Tensor, order: list[str]) -> str:
    few, stream = x[:2], torch.Generator().manual_seed(2)
    parameters = {name: p.detach() for name, p in trainable_by_name(model).items()}
    along = random_direction(model, parameters)

    def directions(logits: Tensor, part: slice) -> Tensor:
        stream.manual_seed(2)
        return torch.randn((1, *logits.shape), generator=stream, dtype=torch.float64).to(logits.device)

    with torch.no_grad():
        squares, slopes = _squares(model, few, directions, slice(0, len(few)), order, along, "per-sample")
        expected = torch.stack([*squares.values()]).sum(dim=0)
        if not expected.isfinite().all():
            return "layers"  # there is no number to be right about
        try:
            actual, moved = _squares(model, few, directions, slice(0, len(few)), order, along, "layers")
        except Exception:  # whatever a network does that a formula cannot follow
            return "per-sample"
    within = PRODUCTS_WITHIN * expected
    same = all(bool(((actual[name] - squares[name]).abs() <= within).all()) for name in order)
    return "layers" if same and same_products(slopes, moved) else "per-sample"


def _squares(
    model: nn.Module,
    x: Tensor,
    directions: Directions,
    part: slice,
    order: list[str],
    along: Mapping[str, Tensor],
    via: str,
) -> tuple[dict[str, Tensor], Tensor]:
    zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    sums = _Sums({name: zeros.clone() for name in order}, along, zeros)
    if via == "per-sample":
        logits = widened(model(x))
        for direction in directions(logits, part).to(logits):
            _by_gradients(model, order, x, direction, sums, together=False)
        return sums.squares, sums.slopes
    with local_pass(model, x) as passed:
        # The gradient of a weight that several calls share is a sum over them, and the norm of a sum does not follow
        # from the norms of its parts: such weights, and those outside every layer, take per-sample gradients.
        logits = widened(passed.logits)
        deltas = directions(logits, part).to(logits)
        apart = (set(passed.uncovered) | passed.repeated) & set(order)
        if len(apart) < len(order):
            _by_layers(passed, deltas, apart, sums)
    names = [name for name in order if name in apart]
    for direction in deltas if names else ():
        _by_gradients(model, names, x, direction, sums)
    return sums.squares, sums.slopes


def _by_gradients(
    model: nn.Module, names: list[str], x: Tensor, direction: Tensor, sums: _Sums, *, together: bool = True
) -> None:
    """Norms and slopes of the parameters that the layers' formulas do not cover, from their gradients."""
    start = 0
    for gradients in per_sample_gradients(model, names, x, direction, together=together):
        end = start
        for name, values in gradients.items():
            rows, end = values.reshape(len(values), -1), start + len(values)
            sums.squares[name][start:end] += rows.square().sum(dim=1)
            if name in sums.along:
                sums.slopes[start:end] += rows @ sums.along[name].flatten().to(rows)
        start = end


def _by_layers(passed: LocalPass, directions: Tensor, apart: set[str], sums: _Sums) -> None:
    caches: dict[LayerCall, CallCache] = {call: CallCache(times=len(directions)) for call in passed.calls}

    def add(call: LayerCall, delta: Tensor) -> None:
        if apart.issuperset(call.parameters.values()):
            return
        names = {local: full for local, full in call.parameters.items() if full in sums.along and full not in apart}
        if names:
            direction = {local: sums.along[full].to(delta) for local, full in names.items()}
            sums.slopes.add_(kind_of(call).directional(call, delta, direction))
        for local, values in kind_of(call).squared_norm(call, delta, caches[call]).items():
            if call.parameters[local] not in apart:
                sums.squares[call.parameters[local]] += values

    for direction in directions:
        passed.backward(direction, add)
