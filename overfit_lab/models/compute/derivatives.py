"""How the logits move as the weights move: four ways to the same numbers, and which of them holds for a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp

from overfit_lab.models.compute.agreement import same_products
from overfit_lab.models.compute.duals import dual_logits, follows
from overfit_lab.models.compute.folded import folded
from overfit_lab.models.compute.folding import state_of
from overfit_lab.models.compute.verdicts import Verdicts
from overfit_lab.models.holdings import with_weights
from overfit_lab.models.isolation import requiring

Tensors = Mapping[str, Tensor]
Moved = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (B, C, H, W) to logits z (B, K) and how they move along a direction, J d (B, K)."""
Way = Callable[[nn.Module, Tensors, Tensor], Moved]
"""Takes a model, a direction by parameter name, and images such as will be asked about."""

TRIED_EVERY = 16
SEEDS = 3
"""Random functions of the logits whose slopes are compared; one would do but for chance."""
_verdicts: Verdicts[str] = Verdicts(TRIED_EVERY)


def fastest_way(model: nn.Module, direction: Tensors, x: Tensor) -> str:
    """The fastest way that holds for a model, by name.

    A way is used only after its derivative along a random direction has been held against the plain network's, on two
    images; again when the model's form has changed, and at every 16th call. The plain network's derivative is that of
    its own backward pass, one image at a time.

    Args:
        model: left as it was by whoever calls inside of ``isolated``.
        direction: by parameter name; parameters not in it stay.
        x: images (B, C, H, W); the first two are tried.

    Cost: the first time about 20 forward passes of two images; then nothing.
    """
    key = (frozenset(direction), x.shape[1:], x.dtype, x.device)
    return _verdicts.of(model, key, partial(_fastest, model, direction, x))


def _fastest(model: nn.Module, direction: Tensors, x: Tensor) -> str:
    """The first of the ways whose derivative is that of the plain network's backward pass."""
    few, trial = x[:2], random_direction(model, direction)
    expected, seeds = _slopes(model, trial, few)
    if not expected.isfinite().all():
        return "double-backward"  # there is no number to be right about, and every network has this way
    for name, way in WAYS.items():
        try:
            moved = way(model, trial, few)(few)[1]
        except Exception:  # whatever a network does that a way cannot follow
            continue
        if same_products(expected, (seeds * moved.double()).sum(dim=2)):
            return name
    return "per-sample"


def _slopes(model: nn.Module, direction: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
    """<grad (s_j . z_i), d> of each image by its own backward pass (J, B), and the random s_j (J, B, K)."""
    weights = [dict(model.named_parameters())[name] for name in direction]
    stream, slopes, seeds = torch.Generator().manual_seed(1), [], []
    with requiring(weights), torch.enable_grad():
        for image in x.split(1):
            z = model(image)
            seed = torch.randn((SEEDS, z.shape[1]), generator=stream, dtype=torch.float64).to(z.device)
            values = (seed * z.double()).sum(dim=1)
            along = [_inner(gradients_of(value, weights), list(direction.values())) for value in values]
            slopes.append(torch.stack(along))
            seeds.append(seed)
    return torch.stack(slopes, dim=1), torch.stack(seeds, dim=1)


def random_direction(model: nn.Module, like: Tensors) -> Tensors:
    """A direction that moves every weight by about its own size, the same at every call.

    Args:
        like: tensors of the names, shapes and kind that the direction is to have.
    """
    parameters, stream = dict(model.named_parameters()), torch.Generator().manual_seed(0)
    noise = {
        name: torch.randn(like[name].shape, generator=stream).to(like[name]) for name in parameters if name in like
    }
    return {name: z * parameters[name].detach().square().mean().sqrt().clamp_min(1e-3) for name, z in noise.items()}


def folded_forward(model: nn.Module, direction: Tensors, x: Tensor) -> Moved:
    """Forward mode on the folded network, in as few passes over memory as there can be.

    Raises:
        RuntimeError: the model has no folded network, one that writes in place where it shows, or is not in eval mode.
    """
    twin = folded(model, x) if not any(module.training for module in model.modules()) else None
    if twin is None or not follows(twin):
        raise RuntimeError("no folded network that duals can follow")
    state = {name: tensor.detach() for name, tensor in state_of(model).items()}
    primals = {name: state[name] for name in direction}
    _, moves = forward_product(lambda weights: twin.fold({**state, **weights}, moved=weights), primals, direction)
    return partial(dual_logits, twin, {name: _channels_last(move) for name, move in moves.items()})


def forward_mode(model: nn.Module, direction: Tensors, x: Tensor) -> Moved:
    """Torch's forward mode. Cost: arithmetic of about three forward passes."""
    parameters = dict(model.named_parameters())
    primals = {name: parameters[name].detach() for name in direction}

    def moved(x: Tensor) -> tuple[Tensor, Tensor]:
        z, along = forward_product(lambda weights: with_weights(model, weights, lambda: model(x)), primals, direction)
        return z.detach(), along.detach()

    return moved


def double_backward(model: nn.Module, direction: Tensors, x: Tensor) -> Moved:
    """The backward pass is linear in what it is given; its derivative by that is the forward product.

    Cost: arithmetic of about six forward passes, and the memory of a second-order graph.
    """
    named = dict(model.named_parameters())
    names = list(direction)

    def moved(x: Tensor) -> tuple[Tensor, Tensor]:
        with requiring(named[name] for name in names), torch.enable_grad():
            z = model(x)
            if not z.requires_grad:
                return z.detach(), torch.zeros_like(z)
            seed = torch.ones_like(z).requires_grad_()
            weights = [named[name] for name in names]
            gradients = torch.autograd.grad(z, weights, seed, create_graph=True, allow_unused=True)
            pairs = [(g, direction[name]) for g, name in zip(gradients, names, strict=True) if g is not None]
            total = torch.stack([(g * d).sum(dtype=g.dtype) for g, d in pairs]).sum() if pairs else seed.sum() * 0
            (along,) = torch.autograd.grad(total, seed, materialize_grads=True)
        return z.detach(), along.detach()

    return moved


def sample_by_sample(model: nn.Module, direction: Tensors, x: Tensor) -> Moved:
    """From the gradient of each sample's and class's logit. Cost: K backward passes a sample, one sample at a time."""
    named = dict(model.named_parameters())
    names = list(direction)

    def moved(x: Tensor) -> tuple[Tensor, Tensor]:
        rows = [
            _one_sample(model, [named[n] for n in names], [direction[n] for n in names], part) for part in x.split(1)
        ]
        return torch.cat([z for z, _ in rows]), torch.cat([along for _, along in rows])

    return moved


def _one_sample(model: nn.Module, weights: Sequence[Tensor], d: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    with requiring(weights), torch.enable_grad():
        z = model(x)
        slopes = [_inner(gradients_of(logit, weights), d) for logit in z[0]]
    return z.detach(), torch.stack(slopes).to(z).unsqueeze(0)


def gradients_of(value: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of a scalar in each weight, 0 where it does not depend on one; the graph stays."""
    if not value.requires_grad:
        return [torch.zeros_like(w) for w in weights]
    gradients = torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True)
    return [gradient.detach() for gradient in gradients]


def _inner(gradients: Sequence[Tensor], direction: Sequence[Tensor]) -> Tensor:
    return torch.stack([(g.double() * d.double()).sum() for g, d in zip(gradients, direction, strict=True)]).sum()


@torch.no_grad()
def forward_product(
    function: Callable[[dict[str, Tensor]], Any], primals: Tensors, tangents: Tensors
) -> tuple[Any, Any]:
    """A function's values and their derivative as its tensors move along the tangents, by forward mode."""
    with warnings.catch_warnings():
        # torch itself uses what it deprecates, on the first forward-mode product of a process.
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
        return jvp(function, (dict(primals),), (dict(tangents),))  # type: ignore[return-value]


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


WAYS: dict[str, Way] = {
    "folded": folded_forward,
    "forward-mode": forward_mode,
    "double-backward": double_backward,
    "per-sample": sample_by_sample,
}
"""From the fastest; records name the one that made a number."""
