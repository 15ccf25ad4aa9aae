"""What a run costs: `estimate(config, hardware)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overfit_lab.config import RunConfig
from overfit_lab.config.catalog import HARDWARE
from overfit_lab.sweeps.cost.data_shape import DataShape
from overfit_lab.sweeps.cost.hardware import Hardware
from overfit_lab.sweeps.cost.storage import device_bytes, disk_bytes
from overfit_lab.sweeps.cost.workload import Workload, workload


@dataclass(frozen=True)
class Cost:
    """What a run costs on some hardware.

    Args:
        work: what it has to do.
        hardware: the device.
        devices: how many share each batch.
        precision: what it computes in.
        seconds: by part: ``attack``, ``update``, ``exchange`` (gradients between devices), ``evaluation`` and
            ``teachers``.
        memory: bytes on each device, see :func:`overfit_lab.sweeps.cost.storage.device_bytes`.
        disk: bytes of the run folder, see :func:`overfit_lab.sweeps.cost.storage.disk_bytes`.
    """

    work: Workload
    hardware: Hardware
    devices: int
    precision: str
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    disk: Mapping[str, int]

    @property
    def total_seconds(self) -> float:
        """From the beginning to the end."""
        return sum(self.seconds.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `overfit-lab cost --json` prints them; seconds, bytes and floating-point operations."""
        work = self.work
        return {
            "name": work.config.name,
            "hardware": self.hardware.title,
            "measured": self.hardware.measured,
            "devices": self.devices,
            "precision": self.precision,
            "data": {**work.data.sizes, "shape": list(work.data.shape), "n_classes": work.data.n_classes},
            "n_parameters": work.counts.n_parameters,
            "n_steps": work.n_steps,
            "flops": {**{name: part.flops for name, part in work.parts.items()}, "total": work.flops},
            "attack_share": work.attack_share,
            "seconds": {**self.seconds, "total": self.total_seconds},
            "memory_bytes": {**self.memory, "total": sum(self.memory.values())},
            "disk_bytes": {**self.disk, "total": sum(self.disk.values())},
            "left_out": work.left_out,
        }


def estimate(config: RunConfig, hardware: Hardware | str, *, devices: int = 1, data: DataShape | None = None) -> Cost:
    """What a run costs on a device, or on several that share each batch.

    Args:
        config: the run.
        hardware: a device, or its name.
        devices: how many.
        data: the splits, where they are known otherwise; see :func:`overfit_lab.sweeps.cost.data_shape.data_shape`.

    Raises:
        ConfigError: a wrong configuration, unknown hardware, or a data set whose size is not known; one line.

    Cost: see :func:`overfit_lab.sweeps.cost.workload.workload`.

    Example:
        >>> from overfit_lab.config.recipes import recipe
        >>> cost = estimate(recipe("digits-hard"), "epyc-core")
        >>> cost.work.n_steps, round(cost.work.attack_share, 2)
        (1600, 0.83)
    """
    return price(workload(config, data), HARDWARE[hardware] if isinstance(hardware, str) else hardware, devices)


def price(work: Workload, hardware: Hardware, devices: int = 1) -> Cost:
    """What some work costs on a device.

    With D devices each has a D-th of every batch, at the same number of operations; they sum their gradients by a ring
    all-reduce that nothing hides; each evaluates a D-th of the images.
    """
    wanted = work.config.compute.precision
    precision = wanted if wanted in hardware.peak else hardware.precision
    attack, update, evaluation = work.parts.values()
    seconds = {
        "attack": hardware.seconds(attack.flops / devices, attack.calls, precision),
        "update": hardware.seconds(update.flops / devices, update.calls, precision),
        "exchange": work.n_exchanges * hardware.exchange_seconds(work.counts.gradient_bytes, devices),
        "evaluation": hardware.seconds(evaluation.flops / devices, evaluation.calls / devices, precision),
        "teachers": sum(price(teacher, hardware, devices).total_seconds for teacher in work.teachers.values()),
    }
    return Cost(work, hardware, devices, precision, seconds, device_bytes(work, devices, precision), disk_bytes(work))


def total(costs: Sequence[Cost]) -> dict[str, Any]:
    """Many runs one after the other: sums of work, seconds and disk, and the most memory that one of them needs."""
    return {
        "n_runs": len(costs),
        "flops": sum(cost.work.flops for cost in costs),
        "seconds": sum(cost.total_seconds for cost in costs),
        "memory_bytes": max(sum(cost.memory.values()) for cost in costs),
        "disk_bytes": sum(sum(cost.disk.values()) for cost in costs),
    }
