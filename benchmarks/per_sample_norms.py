"""The norm of each sample's gradient."""

from __future__ import annotations

import warnings

import torch
from harness import Result, Row, take_turns
from setting import Setting, images, network
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from overfit_lab.methods.labels.base import one_hot
from overfit_lab.probes.metrics.per_sample_norms import per_sample_norms


def loop(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """One backward pass a sample."""
    parameters = list(model.parameters())
    norms = []
    for i in range(len(x)):
        gradients = torch.autograd.grad(functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), parameters)
        norms.append(torch.nn.utils.get_total_norm(gradients))
    return torch.stack(norms)


def by_vmap(model: nn.Module, x: Tensor, y: Tensor, chunk: int) -> Tensor:
    """torch.func's per-sample gradients."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(w: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, w, (image[None],)), label[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    norms = []
    for part, labels in zip(x.split(chunk), y.split(chunk), strict=True):
        found = gradients(weights, part, labels)
        norms.append(sum(g.flatten(1).square().sum(1) for g in found.values()).sqrt())
    return torch.cat(norms)


def measure(setting: Setting) -> Result:
    """Seconds for n norms by a loop, by vmap in large and small chunks, and by the layers' formulas."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    n, width = setting.size(256, 16), 16
    model = network(width, steps=setting.size(15, 1))
    x, y = images(n)
    probs = one_hot(y, 10)
    ways = {
        "one gradient a sample, loop": lambda: loop(model, x, y),
        "vmap(grad), chunks of 64": lambda: by_vmap(model, x, y, 64),
        "vmap(grad), chunks of 16": lambda: by_vmap(model, x, y, 16),
        "ours": lambda: per_sample_norms(model, x, probs).norms,
    }
    reference = ways["one gradient a sample, loop"]().double()
    times = take_turns(ways, setting.size(3, 1))
    rows = [
        Row(
            name,
            {
                "seconds": seconds,
                "times the loop": times["one gradient a sample, loop"] / seconds,
                "largest relative difference": ((ways[name]() / reference - 1).abs().max()).item(),
            },
        )
        for name, seconds in times.items()
    ]
    return Result(f"Per-sample gradient norms, n = {n}, PreAct-ResNet-18 width {width}", rows)
