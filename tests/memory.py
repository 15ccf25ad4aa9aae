"""How many bytes of new tensors a computation holds at most."""

from overfit_lab.models.compute.memory import PeakBytes

__all__ = ["PeakBytes", "peak_bytes"]


def peak_bytes(compute):
    """Runs it; the most bytes of new tensors that were alive at once."""
    with PeakBytes() as count:
        compute()
    return count.peak
