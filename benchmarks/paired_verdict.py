"""Whether outcomes of the same samples at two checkpoints could decide where the curve cannot: simulated runs.

``python benchmarks/paired_verdict.py --runs 1000`` prints the tables of docs/diagnosis.md. A reading is the noise-free
curve, jitter of the weights (autoregressive), and the draw of samples; these are the same at every evaluation, so that
most of their noise is shared by all and only what flips between two epochs, ``DISCORDANT`` of them, differs.

The drop from the best reading to the last has the error that pairing leaves, and twice the jitter's variance, which is
that of the curve's noise less a part for the samples:

- ``binomial``: less that of a draw of samples of its own at each evaluation;
- ``flips``: less that of the samples that flip, as if outcomes at neighbouring epochs were recorded;
- ``chosen``: as ``flips``, with what the largest of so many jitters gives by luck taken off, and the quantile of t;
- ``others``: as ``chosen``, with outcomes on ``OTHERS`` samples that no epoch was chosen on.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np
from scipy.stats import t as student

from overfit_lab.probes.metrics.drop import TAIL, drop_of
from overfit_lab.probes.metrics.noise import autoregressive, noise_in
from overfit_lab.probes.metrics.phases import THRESHOLD

DISCORDANT, ACCURACY = 0.1, 0.5
JITTER, CORRELATION, EVALUATIONS, SAMPLES = (0.0, 0.005, 0.01, 0.03), (0.0, 0.9), (10, 30, 100), (500, 10_000)
OTHERS = 10_000
WAYS = ("binomial", "flips", "chosen", "others")


def curve_of(n: int, drop: float) -> np.ndarray:
    """An accuracy that is level and falls in a line over its second half (n,)."""
    return ACCURACY - drop * np.clip((np.arange(n) / (n - 1) - 0.5) * 2, 0, 1)


def intervals(
    series: np.ndarray, n_samples: int, luck: float, on_others: float
) -> dict[str, tuple[float, float, float]]:
    """Drop from the best reading to the last, and its 95% interval, by each way; ``on_others`` is that on others."""
    noise = noise_in(series)
    raw, size = float(series.max() - series[-1]), float(np.mean(np.square(noise.errors)))
    found = {}
    for way in WAYS:
        own = ACCURACY * (1 - ACCURACY) if way == "binomial" else DISCORDANT / 2
        jitter = max(0.0, size - own / n_samples)
        error = float(np.sqrt(DISCORDANT / (OTHERS if way == "others" else n_samples) + 2 * jitter))
        reach = (student.ppf(1 - TAIL, noise.freedom) if way in ("chosen", "others") else 1.96) * error
        value = {"chosen": raw - luck * size**0.5, "others": on_others - luck * jitter**0.5}.get(way, raw)
        found[way] = (value, value - reach, value + reach)
    return found


def cell(
    stream: np.random.Generator, jitter: float, rho: float, n: int, samples: int, drop: float, runs: int
) -> tuple[int, dict[str, list[int]]]:
    """Runs whose curve cannot tell (asked for drops above 0); of each way yes, covered, and yes and no of those."""
    luck = float(stream.standard_normal((4000, n)).max(axis=1).mean())
    counts = {way: [0, 0, 0, 0] for way in WAYS}
    unclear = 0
    truths = jitter * autoregressive(stream, runs, n, rho) + curve_of(n, drop)
    curves = truths + np.sqrt(DISCORDANT / 2 / samples) * stream.standard_normal((runs, n))
    curves += np.sqrt(ACCURACY * (1 - ACCURACY) / samples) * stream.standard_normal((runs, 1))
    for series, truth in zip(curves, truths, strict=True):
        on_others = truth[series.argmax()] - truth[-1] + (DISCORDANT / OTHERS) ** 0.5 * stream.standard_normal()
        cannot = drop > 0 and _cannot_tell(series)
        unclear += cannot
        for way, (value, low, high) in intervals(series, samples, luck, on_others).items():
            yes = low > 0 and value >= THRESHOLD
            seen = (yes, low <= drop <= high, cannot and yes, cannot and high < THRESHOLD)
            counts[way] = [count + bool(part) for count, part in zip(counts[way], seen, strict=True)]
    return unclear, counts


def _cannot_tell(series: np.ndarray) -> bool:
    judged = drop_of(np.arange(len(series)), series)
    return not (judged.low > 0 and judged.value >= THRESHOLD) and judged.high >= THRESHOLD


def main() -> None:
    """Print a row a setting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--drop", type=float, default=0.0, help="of the noise-free curve, in points")
    options = parser.parse_args()
    stream = np.random.default_rng(0)
    heads = " | ".join(f"{way}: yes, covers; of those yes, no" for way in WAYS)
    print(f"| jitter | correlation | evaluations | samples | curve cannot tell | {heads} |")
    for jitter, rho, n, samples in product(JITTER, CORRELATION, EVALUATIONS, SAMPLES):
        if rho and not jitter:
            continue
        unclear, found = cell(stream, jitter, rho, n, samples, options.drop / 100, options.runs)
        texts = [
            f"{yes / options.runs:.1%}, {covers / options.runs:.0%}; {more}, {less}"
            for yes, covers, more, less in found.values()
        ]
        setting = f"| {100 * jitter:g} | {rho:g} | {n} | {samples:,} | {unclear}"
        print(f"{setting} | {' | '.join(texts)} |", flush=True)


if __name__ == "__main__":
    main()
