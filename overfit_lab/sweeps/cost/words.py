"""Costs in words: numbers with units, and the table of `overfit-lab cost`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from overfit_lab.sweeps.cost.estimate import Cost, total


def in_time(seconds: float) -> str:
    """Seconds in the unit that people use for so many.

    Example:
        >>> in_time(0.25), in_time(90), in_time(7200), in_time(400_000)
        ('0.25 s', '90 s', '2.0 h', '4.6 days')
    """
    if seconds < 120:
        return f"{seconds:.2g} s"
    for unit, size, most in (("min", 60, 120), ("h", 3600, 72), ("days", 86400, 730)):
        if seconds < most * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds / (365 * 86400):.1f} years"


def in_bytes(n: float) -> str:
    """Bytes with a decimal prefix.

    Example:
        >>> in_bytes(950), in_bytes(86_026 * 4), in_bytes(11.2e9)
        ('950 B', '344 kB', '11.2 GB')
    """
    return _prefixed(n, ("B", "kB", "MB", "GB", "TB"))


def in_flops(n: float) -> str:
    """Floating-point operations with a decimal prefix.

    Example:
        >>> in_flops(1.42e11), in_flops(2.6e17)
        ('142 GFLOP', '260 PFLOP')
    """
    return _prefixed(n, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"))


def _prefixed(n: float, units: Sequence[str]) -> str:
    """A number in the first unit in which it is below 1000, a thousand of one being the next."""
    power = 0
    while n >= 1000 and power < len(units) - 1:
        n, power = n / 1000, power + 1
    return f"{n:.3g} {units[power]}" if n < 1000 else f"{n:,.0f} {units[power]}"


def table(costs: Sequence[Cost]) -> list[tuple[str, str]]:
    """Rows of one run on one or more devices: what, and how much."""
    first = costs[0]
    work = first.work
    rows = [
        ("network", f"{work.counts.n_parameters:,} parameters, {in_flops(work.counts.forward)} an image"),
        ("steps", f"{work.n_steps:,} of {work.batch} images"),
        ("training", f"{in_flops(work.training.flops)}, {work.attack_share:.0%} of it the attack"),
        ("evaluation", in_flops(work.parts["evaluation"].flops)),
    ]
    if work.teachers:
        rows.append(("teachers", in_flops(sum(teacher.flops for teacher in work.teachers.values()))))
    for cost in costs:
        seconds = cost.seconds
        shares = [("training", seconds["attack"] + seconds["update"])]
        shares += [(name, seconds[name]) for name in ("evaluation", "exchange", "teachers") if seconds[name]]
        words = ", ".join(f"{name} {in_time(value)}" for name, value in shares)
        rows.append((on(cost), f"{in_time(cost.total_seconds)} ({words})"))
    largest = dict(sorted(first.memory.items(), key=lambda item: -item[1]))
    return [*rows, (_memory_title(first), _sum_and_parts(largest)), ("disk", _sum_and_parts(first.disk))]


def on(cost: Cost) -> str:
    """The hardware of a cost."""
    count = f"{cost.devices} x " if cost.devices > 1 else ""
    return f"{count}{cost.hardware.title}"


def _memory_title(cost: Cost) -> str:
    return "memory of a device" if cost.devices > 1 else "memory"


def _sum_and_parts(parts: Mapping[str, int]) -> str:
    words = ", ".join(f"{name} {in_bytes(value)}" for name, value in list(parts.items())[:4] if value)
    return f"{in_bytes(sum(parts.values()))} ({words})"


def summed(by_hardware: Sequence[Sequence[Cost]]) -> list[tuple[str, str]]:
    """Rows of many runs, one after the other, from their costs on one or more devices."""
    first = total(by_hardware[0])
    rows = [("runs", str(first["n_runs"])), ("arithmetic", in_flops(first["flops"]))]
    rows += [(on(costs[0]), in_time(total(costs)["seconds"])) for costs in by_hardware]
    rows.append((_memory_title(by_hardware[0][0]), f"{in_bytes(first['memory_bytes'])} at most"))
    rows.append(("disk", in_bytes(first["disk_bytes"])))
    return rows


def notes(costs: Sequence[Cost]) -> list[str]:
    """What to know of the numbers, a line each."""
    assumed = [cost.hardware.title for cost in costs if not cost.hardware.measured]
    lines = [f"not in it: {'; '.join(costs[0].work.left_out)}"]
    if assumed:
        lines.append("GPUs: the share of the peak that training reaches is assumed, not measured (docs/scaling.md)")
    for cost in costs:
        limit, needed = cost.hardware.memory_bytes, sum(cost.memory.values())
        if limit is not None and needed > limit:
            lines.append(f"{cost.hardware.title}: needs {in_bytes(needed)} and has {in_bytes(limit)}")
    return lines
