"""The label noise of runs: as it was drawn, or as it was measured where another loop gave its true labels."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.records.reader import Run

NO_NOISE = ("", 0.0)
MEASURED = "measured"
"""The kind of noise of another loop, of which the share of changed labels is all that is known."""


def noise_of(run: Run) -> tuple[str, float] | None:
    """Kind and rate; ``NO_NOISE`` where labels are the true ones; None where that is not known.

    A monitored run whose loop gave true labels has the share of training labels that differ from them, in percent
    steps, so that seeds agree. Nothing is known of others, nor of imported weights.
    """
    if run.is_imported:
        return None
    if run.config.knows("data.noise") and run.config.data.name != "arrays":
        noise = run.config.data.noise
        return (noise.kind, noise.rate) if noise.kind != "none" and noise.rate > 0 else NO_NOISE
    data = run.info.get("data")
    if not isinstance(data, dict) or "n_changed" not in data:
        return None
    n = data.get("kept", run.sizes).get("train")
    if n is None:
        return None
    share = round(data["n_changed"] / n, 2)
    return (MEASURED, share) if share else NO_NOISE


def is_noisy(run: Run) -> bool:
    """Whether training labels are known to have noise."""
    return noise_of(run) not in (None, NO_NOISE)


def noise_words(run: Run) -> str:
    """Kind and rate of the label noise, ``none``, or ``unknown``."""
    noise = noise_of(run)
    if noise is None:
        return "unknown"
    return "none" if noise == NO_NOISE else f"{noise[0]} {noise[1]:g}"


def noise_name(runs: Sequence[Run]) -> str:
    """The runs' label noise in a caption's words; "" where nothing is known."""
    known = {noise for run in runs if (noise := noise_of(run)) is not None}
    noisy = [f"{rate:.0%} {kind} label noise" for kind, rate in sorted(known - {NO_NOISE}, key=lambda one: one[::-1])]
    return " / ".join([*(["no label noise"] if NO_NOISE in known else []), *noisy])
