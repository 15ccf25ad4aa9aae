"""Configurations that came in a file are data: the code they name is not run unless the user says so."""

from __future__ import annotations

from overfit_lab.config import RunConfig
from overfit_lab.config.catalog import DATASETS, MODELS
from overfit_lab.errors import ConfigError


def named_code(config: RunConfig) -> list[str]:
    """Every ``package.module:Attribute`` that a configuration would import, as ``key = name``."""
    names = {
        "model.name": config.model.name,
        "attack.name": config.attack.name,
        "objective.name": config.objective.name,
        "labels.name": config.labels.name,
        "schedule.name": config.schedule.name,
        "data.name": config.data.name,
        "evaluation.attack": config.evaluation.attack,
        "evaluation.corruption": config.evaluation.corruption or "",
        "attack.eps_schedule.name": config.attack.eps_schedule.name,
        **{f"regularizers.{i}": part.name for i, part in enumerate(config.regularizers)},
        **{f"probes.metrics.{i}": name for i, name in enumerate(config.probes.metrics)},
        **{f"probes.options.{name}": name for name in config.probes.options},
        **{
            f"probes.options.{name}.prior": str(options["prior"])
            for name, options in config.probes.options.items()
            if "prior" in options
        },
    }
    harmless = {"data.name": DATASETS, "model.name": MODELS}
    found = []
    for key, name in names.items():
        prefix, colon, _ = name.partition(":")
        if colon and prefix not in harmless.get(key, ()):
            found.append(f"{key} = {name!r}")
    return found


def check_trusted(config: RunConfig, source: str, *, trust: bool) -> None:
    """Refuse a configuration from a file that names code outside of this package.

    Importing it, and calling it with the file's own options, could do anything. Names that the user gives on the
    command line or in Python are the user's own and are not checked.

    Args:
        config: as read from the file.
        source: the file or run folder, for the message.
        trust: the user said that it may.

    Raises:
        ConfigError: it names code, and the user did not allow that.
    """
    code = named_code(config)
    if code and not trust:
        raise ConfigError(f"{source}: names code to run ({', '.join(code)}); add --trust if you trust this file")
