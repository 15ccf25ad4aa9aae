"""A run that is gone on with, measured by other probes or to a later end."""

from __future__ import annotations

from typing import Any

from overfit_lab.config import RunConfig, load_config, to_yaml
from overfit_lab.files.writing import write_bytes
from overfit_lab.records import layout
from overfit_lab.records.writer import RunWriter

PROBES, EPOCHS = "probes_changed", "epochs_changed"
"""In run.json: each change with the epoch from which it holds, and what was set before and after it."""
CHOSEN = ("probe_sizes", "probe_budget")
"""What was chosen for the probes before."""


def change_settings(writer: RunWriter, config: RunConfig, epoch: int) -> None:
    """Write probes and length with which a run goes on from an epoch, where they are others.

    They go to config.yaml, and the change to run.json.
    """
    path = layout.config_path(writer.folder)
    recorded = load_config(path)
    info, changes = layout.read_info(writer.folder), dict[str, Any]()
    if recorded.probes != config.probes:
        before, now = (part.probes.model_dump(mode="json", exclude_defaults=True) for part in (recorded, config))
        info = {key: value for key, value in info.items() if key not in CHOSEN}
        info[PROBES] = _with(info.get(PROBES, []), epoch, before, now)
        changes["probes"] = config.probes
    lengths = [part.epochs if part.knows("epochs") else None for part in (recorded, config)]
    said = [part.monitored.config for part in (recorded, config)]
    if lengths[1] is not None and lengths[0] != lengths[1]:
        info[EPOCHS] = _with(info.get(EPOCHS, []), epoch, *lengths)
        changes |= {"epochs": config.epochs, "monitored": config.monitored}
    elif recorded.monitored.data and said[0] != said[1]:  # the loop says its length among its own settings
        info[EPOCHS] = _with(info.get(EPOCHS, []), epoch, *said)
        changes["monitored"] = config.monitored
    if changes:
        writer.replace_info(info)
        write_bytes(path, to_yaml(recorded.model_copy(update=changes)).encode())


def _with(changes: list[dict[str, Any]], epoch: int, before: Any, now: Any) -> list[dict[str, Any]]:
    """The changes up to an epoch and one more; it is there where a kill came before config.yaml was written."""
    new = {"epoch": epoch, "before": before, "now": now}
    return [*(change for change in changes if change["epoch"] <= epoch and change != new), new]
