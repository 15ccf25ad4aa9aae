"""The Hessian's trace: what one random vector costs and how far it scatters, and the exact value."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable

import torch
from harness import Bar, Result, Row, take_turns
from setting import Setting, images, network

from overfit_lab.probes.metrics.hessian.exact import exact_trace
from overfit_lab.probes.metrics.hessian.hutchinson import hutchinson_trace
from overfit_lab.probes.metrics.hessian.products import hessian_product, trainable
from overfit_lab.probes.metrics.hessian.sampled import sampled_trace


def pyhessian_vector(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[int], list[float]]:
    """PyHessian on one batch: a function from a number of vectors to its samples of the trace. Its graph is retained
    between calls, as in its own use.
    """
    from pyhessian import hessian

    engine = hessian(model, torch.nn.CrossEntropyLoss(), data=(x, y), cuda=False)
    return lambda n: [float(v) for v in engine.trace(maxIter=n, tol=0)]


def measure(setting: Setting) -> Result:
    """Seconds a vector and relative scatter of one vector; seconds to a stated standard error follow from both."""
    warnings.filterwarnings("ignore")
    n, width, vectors = setting.size(256, 8), 16, setting.size(8, 2)
    model = network(width, steps=setting.size(15, 1))
    x, y = images(n)
    product = hessian_product(model, x, y, 128)
    peer = pyhessian_vector(network(width, steps=setting.size(15, 1)), x, y)
    scatter: dict[str, list[float]] = {"PyHessian": [], "ours, hutchinson": [], "ours, sampled outputs": []}
    exact = exact_trace(model, x)

    def hutchinson(seed: int, count: int) -> None:
        for i in range(count):
            stream = torch.Generator().manual_seed(100 * seed + i)
            found = hutchinson_trace(product, trainable(model), generator=stream, max_vectors=1, tolerance=0)
            scatter["ours, hutchinson"].append(found.value)

    def sampled(seed: int) -> None:
        stream = torch.Generator().manual_seed(seed)
        scatter["ours, sampled outputs"].append(sampled_trace(model, x, generator=stream).value)

    turns = iter(range(10**6))
    times = take_turns(
        {
            "PyHessian": lambda: scatter["PyHessian"].extend(peer(2)),
            "ours, hutchinson": lambda: hutchinson(next(turns), 2),
            "ours, sampled outputs": lambda: sampled(next(turns)),
            "ours, exact": lambda: exact_trace(model, x),
        },
        setting.size(5, 1),
    )
    times["PyHessian"] /= 2
    times["ours, hutchinson"] /= 2
    for i in range(vectors):  # more of them, for the scatter alone
        sampled(10**5 + i)
        hutchinson(10**5 + i, 2)
    scatter["PyHessian"] += peer(2 * vectors)
    rows, to_ten, to_one = [], {}, {}
    for name, values in scatter.items():
        spread = statistics.stdev(values) / abs(exact.value) if len(values) > 1 else float("nan")
        to_ten[name], to_one[name] = (times[name] * (spread / error) ** 2 for error in (0.1, 0.01))
        figures = {"seconds a vector": times[name], "scatter of one": spread}
        figures |= {"seconds to 10%": max(to_ten[name], times[name]), "seconds to 1%": max(to_one[name], times[name])}
        rows.append(Row(name, figures, f"from {len(values)} vectors; to 10% and 1% by the law of 1/sqrt(m)"))
    seconds = times["ours, exact"]
    rows.append(
        Row("ours, exact", {"seconds to 10%": seconds, "seconds to 1%": seconds}, "no random vector; includes no check")
    )
    ours = min(seconds, rows[2].figures["seconds to 10%"])
    bars = [
        Bar("to 10% faster than PyHessian's trace(), times", rows[0].figures["seconds to 10%"] / ours, 4),
        Bar("exact value faster than our Hutchinson to 1%, times", to_one["ours, hutchinson"] / seconds, 10),
        Bar("exact value faster than PyHessian to 1%, times", to_one["PyHessian"] / seconds, 10),
    ]
    return Result(f"Hessian trace, n = {n}, PreAct-ResNet-18 width {width}", rows, bars)
