"""How the probes' cost grows with the samples, with the width of the network and with the number of checkpoints."""

from __future__ import annotations

import warnings

import torch
from harness import Bar, Result, Row, seconds_of
from setting import Setting, flops, images, network

from overfit_lab.probes.metrics.hessian.exact import exact_trace
from overfit_lab.probes.metrics.iiw import iiw_by_layer


def measure(setting: Setting) -> Result:
    """Seconds over n at width 16, over the width at n = 128, and over repetitions as on several checkpoints."""
    warnings.filterwarnings("ignore")
    sizes = setting.size((128, 256, 512, 1024), (8, 16))  # type: ignore[call-overload]
    widths = setting.size((8, 16, 32, 64), (8, 16))  # type: ignore[call-overload]
    middle = setting.size(128, 8)
    rows = []
    model = network(16, steps=setting.size(15, 1))
    for n in sizes:
        rows.append(_row(f"n = {n}, width 16", model, n))
    for width in widths:
        rows.append(_row(f"n = {middle}, width {width}", network(width, steps=1), middle))
    for count in (1, 2, 4):
        x, y = images(middle)
        d = {name: torch.full_like(p, 0.01) for name, p in model.named_parameters()}
        seconds = seconds_of(lambda x=x, y=y, d=d, c=count: [iiw_by_layer(model, x, y, d, n_train=1) for _ in range(c)])
        rows.append(Row(f"{count} checkpoints, n = {middle}, width 16", {"IIW, all layers": seconds}))
    first, last = rows[0].figures["IIW, all layers"], rows[len(sizes) - 1].figures["IIW, all layers"]
    grown = sizes[-1] / sizes[0]
    bars = [Bar(f"{grown:.0f} times the samples cost, times", last / first, 1.15 * grown, more_is_better=False)]
    return Result("Growth of cost", rows, bars)


def _row(name: str, model: torch.nn.Module, n: int) -> Row:
    x, y = images(n)
    d = {key: torch.full_like(p, 0.01) for key, p in model.named_parameters()}
    iiw_by_layer(model, x[:16], y[:16], d, n_train=1)
    exact_trace(model, x[:16])
    work = flops(model) * n / 1e9
    seconds = seconds_of(lambda: iiw_by_layer(model, x, y, d, n_train=1, batch_size=64))
    trace = seconds_of(lambda: exact_trace(model, x))
    return Row(name, {"GFLOP of a forward pass": work, "IIW, all layers": seconds, "exact Hessian trace": trace})
