"""How often `overfit-lab watch` raises its alert on simulated runs, with and without robust overfitting.

Every simulated run is looked at after each of its epochs, as the watch does, and the p-value of each look's drop is
kept where the judge calls the run overfitting, so that rules (how many looks in a row, at what level) are counted on
the same runs. docs/watch.md has the table.

    python benchmarks/watch_false_alarms.py --runs 200 --jobs 1
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from overfit_lab.probes.metrics.drop import DropTest
from overfit_lab.probes.metrics.phases import phases, steps_at
from overfit_lab.probes.metrics.unimodal import LEAST
from overfit_lab.views.live.alarm import LEVEL, LOOKS

N, DECAY = 100, 50
ALPHA = 0.05
RULES = [(looks, level) for level in (0.05, 0.01, LEVEL) for looks in (1, 2, LOOKS, 5)]
KINDS = ("level", "widening", "still rising", "overfitting")


def simulate(kind: str, rho: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs, robust train and robust test accuracy of one run with a decay after epoch 50.

    level: neither moves after the decay. widening: train goes on rising, test stays. still rising: both rise, train
    faster. overfitting: train rises, test falls by 8 points from epoch 55 on.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(1, N + 1, dtype=float)
    after = np.maximum(t - DECAY, 0)
    test = 0.42 * (1 - np.exp(-t / 8)) + 0.06 * (t > DECAY)
    train = 0.46 * (1 - np.exp(-t / 8)) + 0.09 * (t > DECAY)
    if kind != "level":
        train = train + 0.004 * after
    if kind == "still rising":
        test = test + 0.0015 * after
    if kind == "overfitting":
        test = test - 0.08 * np.clip((t - DECAY - 5) / (N - DECAY - 5), 0, 1)
    return t, train + noise(rng, t, rho) * 0.5, test + noise(rng, t, rho)


def noise(rng: np.random.Generator, t: np.ndarray, rho: float) -> np.ndarray:
    """Autoregressive noise: 1.5 points before the decay, half a point after it."""
    draws = rng.standard_normal(len(t))
    for i in range(1, len(t)):
        draws[i] = rho * draws[i - 1] + np.sqrt(1 - rho**2) * draws[i]
    return draws * np.where(t > DECAY, 0.005, 0.015)


def looks(kind: str, rho: float, seed: int) -> np.ndarray:
    """The p-value of the drop at each look (N,); 1 where the judge does not call the run overfitting."""
    t, train, test = simulate(kind, rho, seed)
    found = np.ones(N)
    for n in range(LEAST, N + 1):
        p = DropTest(test[:n], steps_at(t[:n], [DECAY])).p(0.0)
        if p < ALPHA and phases(t[:n], train[:n], test[:n], decays=[DECAY]).overfits == 1:
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


def one(job: tuple[str, float, int]) -> np.ndarray:
    return looks(*job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for rho in (0.0, 0.5):
            for kind in KINDS:
                jobs = [(kind, rho, seed) for seed in range(arguments.runs)]
                p = list(pool.map(one, jobs, chunksize=5))
                print(
                    f"\n{kind}, correlation {rho:g}, {arguments.runs} runs; last look alone at .05: "
                    f"{np.mean([x[-1] < 0.05 for x in p]):.3f}"
                )
                for n_looks, level in RULES:
                    alerts = [first_alert(x, n_looks, level) for x in p]
                    epochs = [e for e in alerts if e is not None]
                    when = f", median epoch {np.median(epochs):.0f}" if epochs else ""
                    print(f"  {n_looks} looks at {level}: {len(epochs) / len(p):.3f}{when}", flush=True)


if __name__ == "__main__":
    main()
