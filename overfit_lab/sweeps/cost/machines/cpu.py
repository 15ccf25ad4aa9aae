"""Processors whose rate was fitted to committed records."""

from __future__ import annotations

from overfit_lab.sweeps.cost.hardware import Hardware

FITTED_TO = ("digits-hard-seed*", "cifar10-small-hard-seed*")
"""The reference runs that the two constants were fitted to; all other runs are predicted."""

EPYC_CORE = Hardware(
    title="one core of an AMD EPYC, one thread",
    peak={"fp32": 86.3e9},
    share={"fp32": 1.0},
    op_seconds=4.59e-6,
    overlaps=False,
    source="fitted to six reference runs, see docs/scaling.md",
    measured=True,
)

REGISTER = {"epyc-core": EPYC_CORE}
