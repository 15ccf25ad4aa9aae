"""How a number is distributed over samples, run by run and over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overfit_lab.records.reader import Run


@dataclass(frozen=True)
class Density:
    """A histogram as a density: mean over runs in each bin, and the lowest and highest of them.

    Args:
        edges: of the bins (B + 1,).
        mean: (B,), its integral is 1.
        low: (B,).
        high: (B,).
        average: mean of the number over samples, averaged over runs.
        n_runs: how many runs.
        n_samples: samples of each run, those of the smallest.
    """

    edges: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    average: float
    n_runs: int
    n_samples: int


def density(samples: Sequence[np.ndarray], n_bins: int) -> Density:
    """The density of probabilities, from equal-width bins over [0, 1].

    Bins and not a kernel, since probabilities pile up at 0 and at 1, where a kernel would smooth the pile away or
    over the end. Each run counts alike, however many samples it has.

    Args:
        samples: probabilities (n,) of each run, at least one run and one sample.
        n_bins: how many bins.
    """
    edges = np.linspace(0, 1, n_bins + 1)
    densities = np.stack([np.histogram(part, edges)[0] * (n_bins / len(part)) for part in samples])
    return Density(
        edges=edges,
        mean=densities.mean(0),
        low=densities.min(0),
        high=densities.max(0),
        average=float(np.mean([part.mean(dtype=float) for part in samples])),
        n_runs=len(samples),
        n_samples=min(map(len, samples)),
    )


def nearest_epoch(epochs: Sequence[int], wanted: int, decays: Sequence[int]) -> int:
    """The epoch nearest to another, if it can be with no decay of the learning rate between; the earlier of two.

    Args:
        epochs: to choose from, at least one.
        wanted: the other.
        decays: last epochs before the rate was lowered.

    Example:
        >>> nearest_epoch([50, 55], 52, [50]), nearest_epoch([50, 55], 52, [])
        (55, 50)
    """
    stage = [epoch for epoch in epochs if not any((epoch <= decay) != (wanted <= decay) for decay in decays)]
    return min(stage or epochs, key=lambda epoch: (abs(epoch - wanted), epoch))


def label_probabilities(run: Run, epoch: int, split: str, inputs: str) -> np.ndarray | None:
    """Predicted probability of the labelled class of each sample (n,) at an epoch; None where it was not kept."""
    return run.arrays("confidence", epoch).get(f"label-prob-{split}-{inputs}")
