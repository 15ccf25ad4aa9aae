"""What a device does in a second, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Hardware:
    """One device, and the link to others of its kind.

    Args:
        title: in words.
        peak: floating-point operations a second by precision (``fp32``, ``bf16``), dense, as published or measured.
        share: what part of the peak training reaches, by precision.
        op_seconds: seconds that an operation takes beside its arithmetic: what calls and launches cost.
        overlaps: whether operations are launched while others compute, as on a GPU; else both times add up.
        source: where peak, memory and link come from, and what is assumed.
        memory_bytes: memory of the device; None: not stated.
        link_bytes: bytes a second from one device to the next, one direction.
        link_latency: seconds of one message between devices.
        measured: whether share and op_seconds were measured and not assumed.
    """

    title: str
    peak: Mapping[str, float]
    share: Mapping[str, float]
    op_seconds: float
    overlaps: bool
    source: str
    memory_bytes: int | None = None
    link_bytes: float | None = None
    link_latency: float = 0.0
    measured: bool = False

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        """What `overfit-lab list hardware` says."""
        rate = f"{self.rate(self.precision) / 1e12:.3g} TFLOP/s in {self.precision}"
        return f"{self.title}; {'measured' if self.measured else 'assumed'}: {rate}."

    @property
    def precision(self) -> str:
        """What a run computes in on it: mixed precision where the device has it."""
        return "bf16" if "bf16" in self.peak else "fp32"

    def rate(self, precision: str) -> float:
        """Floating-point operations a second that training reaches; fp32 where the device lacks the precision."""
        known = precision if precision in self.peak else "fp32"
        return self.peak[known] * self.share[known]

    def seconds(self, flops: float, calls: float, precision: str) -> float:
        """Seconds of so much arithmetic in so many operations."""
        compute, launches = flops / self.rate(precision), calls * self.op_seconds
        return max(compute, launches) if self.overlaps else compute + launches

    def exchange_seconds(self, n_bytes: float, devices: int) -> float:
        """Seconds of a ring all-reduce: 2 (D - 1) messages of a D-th of the bytes each (Patarasuk and Yuan 2009)."""
        if devices == 1 or self.link_bytes is None:
            return 0.0
        return 2 * (devices - 1) * (n_bytes / devices / self.link_bytes + self.link_latency)
