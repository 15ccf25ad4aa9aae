"""Directional derivatives of each sample's loss along each layer's part of a direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from overfit_lab.probes.metrics.directional import check_direction, logit_motion
from overfit_lab.probes.metrics.layer_kinds.generic import per_sample_gradients
from overfit_lab.probes.metrics.layer_kinds.select import kind_of
from overfit_lab.probes.metrics.layers import group_by_layer, layer_of
from overfit_lab.probes.metrics.local import LayerCall, LocalPass, local_pass
from overfit_lab.probes.metrics.per_sample_norms import gradient_way
from overfit_lab.probes.metrics.pieces import images_per_pass
from overfit_lab.types import widened


class Score(Protocol):
    """Logits z (B, K) of a batch, and its place in the set, to dl/dz of each sample (B, K)."""

    def __call__(self, z: Tensor, part: slice) -> Tensor:
        """The derivatives."""
        ...


def slopes_by_layer(
    model: nn.Module,
    x: Tensor,
    score: Score,
    direction: Mapping[str, Tensor],
    *,
    depth: int | None = None,
    batch_size: int = 256,
) -> tuple[dict[str, Tensor], str]:
    """d_L^T grad l_i of each sample (n,) float64, d_L being the part of d in layer L; by layer, in the model's order.

    The sum over layers is d^T grad l_i. A layer y = f(a; w) adds <delta_i, (df/dw) d>, with delta_i the derivative of
    the loss at its output: one forward pass, one backward pass to the outputs, and the layers once more with d in the
    place of the weights give every layer's part together. What that does not cover (see
    :func:`overfit_lab.probes.metrics.local.local_pass`) takes a forward-mode product a layer.
    ``score`` is the derivative of the loss by the logits; parameters that ``direction`` does not name stay. ``depth``
    parts of a module's path make a layer; ``batch_size`` images (n, C, H, W) a pass bound the memory. The second result
    is the way to the gradients (:func:`overfit_lab.probes.metrics.per_sample_norms.gradient_way`).

    Raises:
        ProbeError: the direction does not fit the model, or samples depend on each other.

    Cost: arithmetic of about three forward passes over x, however many layers there are.
    """
    check_direction(model, direction)
    layers = group_by_layer(direction, depth)
    pieces: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    at_once, via = images_per_pass(x.device, batch_size), gradient_way(model, x)
    batch = _by_gradients if via == "per-sample" else _by_layers
    for start in range(0, len(x), at_once):
        part = slice(start, start + at_once)
        for layer, slopes in batch(model, x[part], partial(score, part=part), direction, layers, depth).items():
            pieces[layer].append(slopes)
    return {layer: torch.cat(parts) for layer, parts in pieces.items()}, via


Layers = Mapping[str, list[str]]


def _by_gradients(
    model: nn.Module,
    x: Tensor,
    score: Callable[[Tensor], Tensor],
    direction: Mapping[str, Tensor],
    layers: Layers,
    depth: int | None,
) -> dict[str, Tensor]:
    with torch.no_grad():
        delta = score(widened(model(x)))
    pieces = list(per_sample_gradients(model, tuple(direction), x, delta, together=False))
    slopes = {
        name: torch.cat([piece[name].flatten(1).double() @ d.flatten().double() for piece in pieces])
        for name, d in direction.items()
    }
    return {layer: torch.stack([slopes[name] for name in names]).sum(dim=0) for layer, names in layers.items()}


def _by_layers(
    model: nn.Module,
    x: Tensor,
    score: Callable[[Tensor], Tensor],
    direction: Mapping[str, Tensor],
    layers: Layers,
    depth: int | None,
) -> dict[str, Tensor]:
    sums = {layer: torch.zeros(len(x), dtype=torch.float64, device=x.device) for layer in layers}
    with local_pass(model, x) as passed:
        delta = score(widened(passed.logits))
        left_over = _left_over(passed, direction)

        def visit(call: LayerCall, delta: Tensor) -> None:
            # A weight that modules share belongs to the layer of its first name, and its bias perhaps to another.
            of_layers: dict[str, dict[str, Tensor]] = {}
            for local, full in call.parameters.items():
                if full in direction and full not in left_over:
                    of_layers.setdefault(layer_of(full, depth), {})[local] = direction[full].to(delta)
            for layer, tangents in of_layers.items():
                sums[layer] += kind_of(call).directional(call, delta, tangents).double()

        passed.backward(delta, visit)
    via = (
        logit_motion(model, x, {name: direction[name] for name in direction if name in left_over})[0]
        if left_over
        else ""
    )
    for layer, names in layers.items():
        rest = {name: direction[name] for name in names if name in left_over}
        if rest:
            if via is None:  # one trial for the layers together
                via, _ = logit_motion(model, x, {name: direction[name] for name in direction if name in left_over})
            _, motion = logit_motion(model, x, rest, via=via)
            sums[layer] += (delta.double() * motion(x)[1].double()).sum(dim=1)
    return sums


def _left_over(passed: LocalPass, direction: Mapping[str, Tensor]) -> set[str]:
    """The entries of the direction that the layers' calls do not give, frozen parameters that moved among them."""
    covered = {full for call in passed.calls for full in call.parameters.values()} - set(passed.uncovered)
    return {
        name for name, d in direction.items() if name not in covered and name not in passed.unused and bool(d.any())
    }
