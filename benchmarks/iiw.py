"""Information in the weights (empirical Fisher) by five ways that give the same number."""

from __future__ import annotations

import warnings

import torch
from harness import Bar, Result, Row, take_turns
from setting import Setting, flops, images, network
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from overfit_lab.probes.metrics.iiw import iiw, iiw_by_layer


def per_sample_loop(model: nn.Module, x: Tensor, y: Tensor, d: dict[str, Tensor]) -> float:
    """mean_i (d^T g_i)^2, one backward pass a sample."""
    parameters = list(model.parameters())
    squares = []
    for i in range(len(x)):
        gradients = torch.autograd.grad(functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), parameters)
        squares.append(sum((g * v).sum() for g, v in zip(gradients, d.values(), strict=True)).square())
    return torch.stack(squares).mean().item()


def by_vmap(model: nn.Module, x: Tensor, y: Tensor, d: dict[str, Tensor], chunk: int = 64) -> float:
    """The same by torch.func's per-sample gradients."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(w: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, w, (image[None],)), label[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    squares = []
    for part, labels in zip(x.split(chunk), y.split(chunk), strict=True):
        found = gradients(weights, part, labels)
        squares.append(sum((g * d[name]).flatten(1).sum(1) for name, g in found.items()).square())
    return torch.cat(squares).mean().item()


def by_curvlinops(model: nn.Module, x: Tensor, y: Tensor, d: dict[str, Tensor], chunk: int = 128) -> float:
    """d^T (E d) with curvlinops' empirical Fisher."""
    from curvlinops import EFLinearOperator

    batches = list(zip(x.split(chunk), y.split(chunk), strict=True))
    flat = torch.cat([v.flatten() for v in d.values()])
    operator = EFLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), batches, check_deterministic=False
    )
    return (flat @ (operator @ flat)).item()


def measure(setting: Setting) -> Result:
    """Seconds, and how near to three forward passes at the machine's rate."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    n, width = setting.size(1280, 16), 16
    model = network(width, steps=setting.size(15, 1))
    x, y = images(n)
    stream = torch.Generator().manual_seed(3)
    d = {name: 0.01 * torch.randn(p.shape, generator=stream) for name, p in model.named_parameters()}
    small = x[:16], y[:16]
    ways = {
        "one gradient a sample, loop": lambda x, y: per_sample_loop(model, x, y, d),
        "curvlinops d @ (E @ d)": lambda x, y: by_curvlinops(model, x, y, d),
        "vmap(grad), chunks of 64": lambda x, y: by_vmap(model, x, y, d),
        "ours, one forward-mode product": lambda x, y: iiw(model, x, y, d, n_train=1, batch_size=64).value,
        "ours, all layers too": lambda x, y: iiw_by_layer(model, x, y, d, n_train=1, batch_size=64)[0].value,
    }
    for run in ways.values():
        run(*small)
    found: dict[str, float] = {}

    def turn(name: str) -> None:
        found[name] = ways[name](x, y)

    times = take_turns({name: lambda name=name: turn(name) for name in ways}, setting.size(3, 1), warm=False)
    reference = found["one gradient a sample, loop"]
    work = 3 * flops(model) * n / 1e9
    rows = [
        Row(
            name,
            {"seconds": seconds, "relative difference": abs(found[name] / reference - 1)}
            | {f"share of {kind}'s rate": work / seconds / rate for kind, rate in setting.rates.items()},
        )
        for name, seconds in times.items()
    ]
    ours = times["ours, one forward-mode product"]
    bars = [
        Bar("faster than a loop, times", times["one gradient a sample, loop"] / ours, 3),
        Bar("faster than curvlinops, times", times["curvlinops d @ (E @ d)"] / ours, 3),
        Bar("faster than vmap(grad), times", times["vmap(grad), chunks of 64"] / ours, 2),
        *(Bar(f"share of {k}'s matrix rate", work / ours / rate, 0.8) for k, rate in setting.rates.items()),
    ]
    return Result(f"IIW, empirical Fisher, n = {n}, PreAct-ResNet-18 width {width}", rows, bars)
