"""Whether a number grows between two stages of a run, beyond the noise of its readings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from overfit_lab.probes.metrics.noise import noise_of

LEAST_READINGS = 6
"""Readings that a run needs for its noise to be told from its growth."""
LATE = 1 / 3
"""Share of the readings after onset and first decay that are its late ones."""
EARLY = 1 / 3
"""Share of the readings that are the early ones, where there is no onset to end them."""


@dataclass(frozen=True)
class Growth:
    """Mean of a run's early readings and of its late ones, and the change from those to these.

    Args:
        stderr: standard error of the change by the noise of the readings and its correlation.
        freedom: degrees of freedom of the noise.
        early_epochs: first and last epoch of the early readings.
        before: mean of the readings before the first decay; None without any.
    """

    early: float
    late: float
    change: float
    stderr: float
    freedom: int
    early_epochs: tuple[float, float]
    late_epochs: tuple[float, float]
    before: float | None

    @property
    def ratio(self) -> tuple[float, float]:
        """Of logarithms: late over early readings, each a geometric mean, and its standard error (delta method)."""
        ratio = float(np.exp(self.change))
        return ratio, ratio * self.stderr


def growth_of(
    epochs: np.ndarray,
    values: np.ndarray,
    *,
    onset: float | None = None,
    first_decay: float | None = None,
    logarithm: bool = False,
) -> Growth | None:
    """The change from the stationary stage to the end of a run: the one definition, of diagnosis and probes alike.

    The stationary stage (SGLR, Yu et al. 2024) lies after the first decay of the learning rate, since the number itself
    may change with the rate, and up to the onset; where no reading lies there, it is the first one after the decay. An
    onset before the decay sets the decay aside. Without an onset it is the first ``EARLY`` of the readings after the
    decay. The standard error takes the noise as autoregressive of order 1, its size and correlation from changes from
    one reading to the next less their median, so that a steady trend counts little as noise and a jump somewhat.
    Epochs (n,) increase; values (n,) that are not finite are passed over. ``onset`` is the epoch from which the run
    overfits, ``first_decay`` the one after which the learning rate was first lowered. With ``logarithm``
    those of the values are taken, for a ratio, and values that are not above 0 are passed over.

    Returns:
        None for fewer than ``LEAST_READINGS`` readings, or none late enough.

    Cost: O(n^2), n readings.
    """
    epochs, values = np.asarray(epochs, float), np.asarray(values, float)
    if logarithm:
        values = np.log(np.where(values > 0, values, np.nan))
    finite = np.isfinite(epochs) & np.isfinite(values)
    epochs, values = epochs[finite], values[finite]
    if len(values) < LEAST_READINGS:
        return None
    periods = stages(epochs, onset, first_decay)
    if periods is None:
        return None
    early, late, before = periods
    noise, correlation = noise_of(values)
    contrast = np.zeros(len(values))
    contrast[early], contrast[late] = -1 / len(early), 1 / len(late)
    lags = np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values))))
    covariance = np.outer(noise, noise) * correlation**lags
    first, last = float(values[early].mean()), float(values[late].mean())
    return Growth(
        early=first,
        late=last,
        change=last - first,
        stderr=float(np.sqrt(contrast @ covariance @ contrast)),
        freedom=len(values) - 3,
        early_epochs=(float(epochs[early[0]]), float(epochs[early[-1]])),
        late_epochs=(float(epochs[late[0]]), float(epochs[late[-1]])),
        before=float(values[before].mean()) if len(before) else None,
    )


def stages(
    epochs: np.ndarray, onset: float | None, first_decay: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Positions of the early readings, of the late ones, and of those before the first decay (which may be none)."""
    decay = -np.inf if first_decay is None or (onset is not None and onset <= first_decay) else first_decay
    after, before = np.flatnonzero(epochs > decay), np.flatnonzero(epochs <= decay)
    if onset is None:
        early = after[: max(1, int(len(after) * EARLY))]
    else:
        early = after[epochs[after] <= onset] if (epochs[after] <= onset).any() else after[:1]
    grown = after[len(early) :]
    late = grown[-max(2, int(np.ceil(len(grown) * LATE))) :]
    return (early, late, before) if len(late) >= 2 else None
