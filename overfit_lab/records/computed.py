"""A run's configuration with what ``auto`` came to, where that decides which runs are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overfit_lab.config import RunConfig, load_config
from overfit_lab.records import layout

PRECISIONS = ("fp32", "bf16")


def config_of(folder: Path) -> RunConfig:
    """The configuration of a run folder, in the precision that the run computes in.

    Raises:
        RunFolderError: no run.
        ConfigError: its configuration is damaged.
    """
    config = load_config(layout.config_path(layout.check_run(folder)))
    return as_computed(config, layout.read_info(folder)) if config.compute.precision == "auto" else config


def as_computed(config: RunConfig, info: dict[str, Any]) -> RunConfig:
    """The configuration with the precision that a run's run.json names in the place of ``auto``.

    Two runs of one configuration, of which ``auto`` made one fp32 and the other bf16, are no seeds of one experiment.
    """
    compute = info.get("compute")
    precision = compute.get("precision") if isinstance(compute, dict) else None
    if config.compute.precision != "auto" or precision not in PRECISIONS:
        return config
    return config.model_copy(update={"compute": config.compute.model_copy(update={"precision": precision})})
