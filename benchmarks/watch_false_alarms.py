"""How often `overfit-lab watch` raises its alert on simulated runs, with and without robust overfitting.

Every simulated run is looked at after each of its epochs, as the watch does, and what each look finds is kept, so
that rules (how many looks in a row, at what level) are counted on the same runs. docs/watch.md has the table.

    python benchmarks/watch_false_alarms.py --runs 200 --jobs 1
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from overfit_lab.probes.metrics.drop import DropTest, drop_of
from overfit_lab.probes.metrics.phases import steps_at, verdict_of, widening_of
from overfit_lab.probes.metrics.unimodal import LEAST
from overfit_lab.views.live.alarm import LEVEL, LOOKS

N, DECAY = 100, 50
RULES = ((1, 0.05), (3, 0.05), (LOOKS, LEVEL))
KINDS = ("overfitting", "widening", "level")
NOISES = {
    "1.5 points before the decay and .5 after it, independent": (0.015, 0.005, 0.0),
    "1.5 and .5 points, correlation .5": (0.015, 0.005, 0.5),
    "3.3 and .7 points, correlation .3, as on digits": (0.033, 0.007, 0.3),
}


def simulate(kind: str, noise: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs, robust train and robust test accuracy of one run with a decay after epoch 50.

    level: neither moves after the decay. widening: train goes on rising, test stays. overfitting: train rises, test
    falls by 8 points from epoch 55 on.
    """
    rng = np.random.default_rng([seed, *noise.encode()])
    t = np.arange(1, N + 1, dtype=float)
    after = np.maximum(t - DECAY, 0)
    test = 0.42 * (1 - np.exp(-t / 8)) + 0.06 * (t > DECAY)
    train = 0.46 * (1 - np.exp(-t / 8)) + 0.09 * (t > DECAY)
    if kind != "level":
        train = train + 0.004 * after
    if kind == "overfitting":
        test = test - 0.08 * np.clip((t - DECAY - 5) / (N - DECAY - 5), 0, 1)
    before, later, rho = NOISES[noise]
    sizes = np.where(t > DECAY, later, before)
    return t, train + sizes * correlated(rng, rho) * 0.5, test + sizes * correlated(rng, rho)


def correlated(rng: np.random.Generator, rho: float) -> np.ndarray:
    """Autoregressive noise of unit variance (N,)."""
    draws = rng.standard_normal(N)
    for i in range(1, N):
        draws[i] = rho * draws[i - 1] + np.sqrt(1 - rho**2) * draws[i]
    return draws


def looks(job: tuple[str, str, int]) -> np.ndarray:
    """The p-value of the drop at each look (N,); 1 where the judge does not find overfitting."""
    t, train, test = simulate(*job)
    found = np.ones(N)
    for n in range(LEAST, N + 1):
        steps = steps_at(t[:n], [DECAY])
        p = DropTest(test[:n], steps).p(0.0)
        if p < max(level for _, level in RULES):
            drop = drop_of(t[:n], test[:n], steps)
            if verdict_of(drop, widening_of(t[:n], train[:n], test[:n], drop, [DECAY])) == "robust overfitting":
                found[n - 1] = p
    return found


def first_alert(p: np.ndarray, n_looks: int, level: float) -> int | None:
    """The epoch of the first of ``n_looks`` significant looks in a row that completes them."""
    run = 0
    for i, value in enumerate(p):
        run = run + 1 if value < level else 0
        if run == n_looks:
            return i + 1
    return None


def main() -> None:
    """Count and print the table of docs/watch.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    heads = [f"{n} in a row at {level:g}" if n > 1 else f"one at {level:g}" for n, level in RULES]
    print(f"| run | noise | {' | '.join(heads)} |\n| --- | --- |{' --- |' * len(RULES)}", flush=True)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for kind in KINDS:
            for noise in NOISES:
                p = list(pool.map(looks, [(kind, noise, seed) for seed in range(arguments.runs)], chunksize=5))
                entries = []
                for n_looks, level in RULES:
                    alerts = [first_alert(x, n_looks, level) for x in p]
                    epochs = [epoch for epoch in alerts if epoch is not None]
                    when = f", epoch {np.median(epochs):.0f}" if kind == "overfitting" and epochs else ""
                    entries.append(f"{100 * len(epochs) / len(p):.1f}%{when}")
                print(f"| {kind} | {noise} | {' | '.join(entries)} |", flush=True)


if __name__ == "__main__":
    main()
